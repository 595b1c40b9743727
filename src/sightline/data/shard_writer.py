"""Any data set -> tar shards in WebDataset's naming, the same bytes every time."""

import io
import json
import re
import secrets
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.data.catalog import SPLITS, Catalog, FileImages, Problem, listed
from sightline.data.decode import SUFFIXES, BadImage, read_header
from sightline.data.draw import epoch_order
from sightline.data.parquet_images import ParquetImages
from sightline.data.shard_images import ShardImages
from sightline.data.shards import CLASSES
from sightline.errors import ConfigError, DataError

Progress = Callable[[int, int], None]  # (pictures done, pictures in all)

UNASSIGNED = "data"  # what the names of shards begin with whose pictures have no split
_SUFFIX_OF = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "WEBP": "webp"}
_TAR_BLOCK = 512


@dataclass(frozen=True)
class Written:
    """What `write_shards` has written.

    Args:
        folder: that holds it.
        shards: name, pictures and bytes of each file.
        skipped: pictures that were left out.
    """

    folder: Path
    shards: tuple[tuple[str, int, int], ...]
    skipped: tuple[Problem, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "folder": str(self.folder),
            "pictures": sum(count for _, count, _ in self.shards),
            "shards": [{"name": name, "pictures": count, "bytes": size} for name, count, size in self.shards],
            "skipped": [{"path": problem.path, "reason": problem.reason} for problem in self.skipped],
        }

    def __str__(self) -> str:
        """A line."""
        count, size = sum(count for _, count, _ in self.shards), sum(size for _, _, size in self.shards)
        left_out = f", {len(self.skipped):,} left out" if self.skipped else ""
        return f"{count:,} pictures in {len(self.shards):,} shards ({size / 1e6:,.1f} MB){left_out}: {self.folder}"


def write_shards(
    catalog: Catalog,
    folder: str | Path,
    *,
    shard_bytes: int = 256_000_000,
    split: str | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write shards, with the names of the classes beside them.

    The pictures of a split are shuffled by the seed, so that every shard has some of each class and reading shard by
    shard is nearly as good as a shuffle. Files of pictures are copied byte for byte; pictures that come as arrays
    become PNG. The same catalog gives the same files.

    Args:
        catalog: any data set.
        folder: made; it may be there if it is empty. It appears as a whole at the end, or not at all.
        shard_bytes: a shard ends before it would become larger, unless one picture alone is.
        split: the one to write; None for all.
        seed: of the shuffle.
        skip_bad: leave out files that cannot be read, instead of raising. No picture is decoded.
        progress: told of every picture.

    Raises:
        ConfigError: the folder has something in it, or a number is out of range.
        DataError: files cannot be read, or there are no pictures.
    """
    folder = Path(folder)
    if shard_bytes < 1:
        raise ConfigError(f"the size of a shard must be 1 byte or more, got {shard_bytes}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty, and nothing is overwritten. Name another folder.")
    if not folder.parent.is_dir():
        raise ConfigError(f"there is no folder {folder.parent} for {folder.name}. Make it, or name another.")
    if catalog.problems and not skip_bad:
        raise DataError(
            f"{len(catalog.problems)} files of {catalog.name} cannot be used:\n{listed(catalog.problems)}\n"
            "Repair or remove them, or leave them out with --skip-bad."
        )
    unwritable = [name for name in catalog.classes if name.strip() != name or not name.isprintable() or not name]
    if unwritable:
        raise DataError(f"{catalog.name} has a class name that no line of {CLASSES} can hold: {unwritable[0]!r}.")
    wanted = {name: catalog.select(name) for name in SPLITS if split in (None, name)}
    if split is not None:
        catalog.select(split)  # refuses a split that there is not
    total = sum(map(len, wanted.values()))
    if not total:
        raise DataError(f"{catalog.name} has no pictures{f' in the split {split}' if split else ''}.")
    partial = folder.with_name(f".{folder.name}-unfinished-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        writer = _Writer(catalog, partial, shard_bytes, total, progress)
        for name, indices in wanted.items():
            order = indices[epoch_order(seed, 0, len(indices)).numpy()].tolist()
            writer.write(UNASSIGNED if name == "unassigned" else name, order)
        if writer.problems and not skip_bad:
            raise DataError(
                f"{len(writer.problems)} of {total:,} pictures of {catalog.name} cannot be read:\n"
                f"{listed(writer.problems)}\nRepair or remove them, or leave them out with --skip-bad."
            )
        (partial / CLASSES).write_text("".join(f"{name}\n" for name in catalog.classes), encoding="utf-8", newline="")
        partial.replace(folder)  # over an empty folder, or none
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Written(folder, tuple(writer.shards), (*catalog.problems, *writer.problems))


class _Writer:
    """Writes the shards of one split after the other."""

    def __init__(self, catalog: Catalog, folder: Path, shard_bytes: int, total: int, progress: Progress | None) -> None:
        self._catalog, self._folder, self._shard_bytes = catalog, folder, shard_bytes
        self._total, self._progress, self._done = total, progress, 0
        self._keys = _Keys(catalog)
        self.shards: list[tuple[str, int, int]] = []
        self.problems: list[Problem] = []

    def write(self, name: str, indices: list[int]) -> None:
        """The shards of one split."""
        samples = self._samples(indices)
        pending = next(samples, None)
        number = 0
        while pending is not None:
            path = self._folder / f"{name}-{number:06d}.tar"
            count = 0
            with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                while pending is not None:
                    if count and tar.offset + _tar_bytes(pending) > self._shard_bytes:
                        break
                    for member, content in pending:
                        tar.addfile(_member(member, len(content)), io.BytesIO(content))
                    tar.members.clear()  # type: ignore[attr-defined] # they would all be kept
                    count += 1
                    pending = next(samples, None)
            self.shards.append((path.name, count, path.stat().st_size))
            number += 1

    def _samples(self, indices: list[int]) -> Iterator[list[tuple[str, bytes]]]:
        """The files of each picture: its own, and that of its label."""
        for index in indices:
            try:
                content, suffix = _file_of(self._catalog, index)
            except BadImage as error:
                self.problems.append(Problem(self._catalog.images.name(index), error.reason))
            else:
                key = self._keys.of(index)
                yield [(f"{key}.{suffix}", content), *((f"{key}.{kind}", text) for kind, text in self._label(index))]
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)

    def _label(self, index: int) -> Iterator[tuple[str, bytes]]:
        """A number in .cls, as the library's own decoders take it; several labels, and a group, in .json."""
        catalog = self._catalog
        table: dict[str, list[str] | str] = {}
        if catalog.is_multilabel:
            table["label"] = [catalog.classes[number] for number in np.flatnonzero(catalog.labels[index])]
        else:
            yield "cls", str(catalog.class_numbers[index]).encode()
        if catalog.groups is not None:
            table["group"] = catalog.group_name(int(catalog.groups[index]))
        if table:
            yield "json", json.dumps(table).encode()


class _Keys:
    """A key for each picture: its name without what the rules for keys forbid."""

    def __init__(self, catalog: Catalog) -> None:
        self._images = catalog.images
        self._counts = Counter(_plain_key(catalog.images.name(index)) for index in range(len(catalog)))

    def of(self, index: int) -> str:
        key = _plain_key(self._images.name(index))
        if self._counts[key] == 1:
            return key
        key = f"{key}-{index:08d}"
        while key in self._counts:  # a picture is called so
            key += "-"
        return key


def _plain_key(name: str) -> str:
    """A name without its suffix, and with _ for the dots of its last part.

    Example:
        >>> _plain_key("cats/tom.v2.jpg"), _plain_key("train/00017"), _plain_key("../.tom.png")
        ('cats/tom_v2', 'train/00017', '_/_tom')
    """
    *folders, last = [part for part in name.split("/") if part not in ("", ".")]
    lowered = last.lower()
    suffix = next((each for each in SUFFIXES if lowered.endswith(each) and len(last) > len(each)), "")
    last = last.removesuffix(last[len(last) - len(suffix) :]) if suffix else last
    parts = ["_" if folder == ".." else folder for folder in folders] + [last.replace(".", "_")]
    key = re.sub(r"[^\w\-+ ./,()=@#&']", "_", "/".join(parts))
    return f"_{key}" if key.startswith("__") else key


def _file_of(catalog: Catalog, index: int) -> tuple[bytes, str]:
    """The bytes of a picture's file, and the extension of their format."""
    images = catalog.images
    if isinstance(images, FileImages | ParquetImages | ShardImages):
        content = images.content(index)
        suffix = images.name(index).lower().rpartition(".")[2]
        if f".{suffix}" in SUFFIXES:
            return content, suffix
        return content, _SUFFIX_OF[read_header(content).format]
    pixels = images.read(index)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue(), "png"


def _member(name: str, size: int) -> tarfile.TarInfo:
    """The same for everybody and at any time."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member


def _tar_bytes(files: list[tuple[str, bytes]]) -> int:
    """What some files take in a shard, without what a long name adds, and the end of the shard."""
    return sum(_TAR_BLOCK + -(-len(content) // _TAR_BLOCK) * _TAR_BLOCK for _, content in files) + 2 * _TAR_BLOCK
