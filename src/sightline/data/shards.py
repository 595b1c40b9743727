"""Tar shards in WebDataset's naming -> a Catalog; nothing is unpacked, and no picture is held."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np

from sightline.data.braces import expanded
from sightline.data.catalog import SPLITS, Catalog, listed
from sightline.data.class_map import read_class_map
from sightline.data.decode import read_header
from sightline.data.fetching import Progress
from sightline.data.folder import SPLIT_FOLDERS, Scan
from sightline.data.grouping import GROUP_COLUMN, grouped
from sightline.data.parquet import split_of_file
from sightline.data.probe import probe
from sightline.data.shard import LocalShard, Shard
from sightline.data.shard_images import Names, ShardImages
from sightline.data.shard_labels import Declared, named
from sightline.data.shard_samples import ShardSamples
from sightline.data.tabular import numbered
from sightline.data.threads import in_order
from sightline.data.web_shard import WebShard, text_beside
from sightline.errors import DataError

SUFFIX = ".tar"
CLASSES = "classes.txt"
_PROBES = 64  # pictures whose headers are looked at: on a server each is a request
_THREADS = min(8, os.cpu_count() or 1)  # shards read at once
_WEB = ("http", "https")


def names_shards(source: str) -> bool:
    """Whether a source is a tar file, many of them in brace notation, or an address.

    Example:
        >>> [names_shards(each) for each in ("train-{0..3}.tar", "http://host/a.tar", "photos/", "labels.csv")]
        [True, True, False, False]
    """
    return "://" in source or source.lower().endswith(SUFFIX)


def shard_files(folder: Path) -> list[Path]:
    """The tar files of a folder, or of its folders train, val and test, sorted by path; none where it has others."""
    scan = Scan(folder)
    folders, _ = scan.children("")
    if scan.problems:  # it cannot be listed, which whoever reads it as a folder says
        return []
    places = ["", *(name for name in folders if name.lower() in SPLIT_FOLDERS)]
    found = [
        f"{place}/{file}".removeprefix("/")
        for place in places
        for file in _files(scan, place)
        if file.lower().endswith(SUFFIX)
    ]
    has_classes = len(places) <= len(folders) or any(scan.children(place)[0] for place in places[1:])
    return [] if has_classes else [folder / file for file in sorted(found)]


def _files(scan: Scan, place: str) -> list[str]:
    with suppress(OSError):
        return scan.listing.entries(place).files
    return []


def read_shards(
    source: str | Sequence[Path],
    *,
    root: Path | None = None,
    channels: Literal[1, 3] | None,
    class_map: str | Path | None = None,
    group_by: str | None = None,
    progress: Progress | None = None,
) -> Catalog:
    """Read what tar shards hold.

    Args:
        source: their name or address, with braces for many; or their paths.
        root: the folder that paths are named after.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        class_map: the names of the classes in the order of their numbers; None for classes.txt beside the shards,
            where it is.
        group_by: see `grouped`; the shards' own groups are those of their .json.
        progress: told how many shards are read.

    Returns:
        The catalog, in the order of the shards. The split of a picture is what its shard's name begins with, or its
        folder: train, val, test.

    Raises:
        DataError: there is no such shard, none of them has a labelled picture, or the labels do not fit the names.
        ConfigError: braces or the class map cannot be understood.
    """
    shards, root = _shards(source, root)
    folder = _name(source, root)
    samples = _samples(shards, progress)
    problems = tuple(problem for each in samples for problem in each.problems)
    labels = [label for each in samples for label in each.labels]
    if not labels:
        raise DataError(
            f"{folder} holds no labelled pictures. A sample is a picture and a .cls, .txt or .json of the same name."
            + (f"\n{listed(problems)}" if problems else "")
        )
    labelling, classes, notes = named(labels, _declared(shards, root, class_map), where=folder)
    images = _images(shards, samples, folder, root)
    looks = probe(len(images), lambda place: read_header(images.content(place)), most=_PROBES)
    splits = np.array([SPLITS.index(split_of_file(_end(shard.name)) or "unassigned") for shard in shards], np.uint8)
    ignored = sum(each.num_ignored for each in samples)
    catalog = Catalog(
        name=folder,
        root=root,
        classes=classes,
        images=images.with_channels(channels or looks.channels),
        labels=numbered(labelling.rows, classes, is_multilabel=labelling.is_multilabel),
        splits=splits[images.shard],
        problems=problems,
        channels=channels or looks.channels,
        typical_size=looks.typical_size,
        notes=(*notes, *([f"Ignored {ignored:,} files in the shards that belong to no sample."] if ignored else [])),
    )
    groups = [group for each in samples for group in each.groups]
    columns = {GROUP_COLUMN: groups} if any(groups) else {}
    return grouped(catalog, group_by, columns=columns, known=sorted(columns))


def _shards(source: str | Sequence[Path], root: Path | None) -> tuple[tuple[Shard, ...], Path | None]:
    if not isinstance(source, str):
        return tuple(LocalShard(path, path.relative_to(root or path.parent).as_posix()) for path in source), root
    names = expanded(source)
    if "://" in source:
        scheme = urlsplit(source).scheme.lower()
        if scheme not in _WEB:
            raise DataError(f"{source} begins with {scheme}://; shards are read from files, http:// and https://.")
        return tuple(WebShard(name) for name in names), None
    paths = [Path(name).expanduser() for name in names]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise DataError(f"{source}: there is no {', '.join(missing[:5])}{more}, of {len(paths):,} shards.")
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return tuple(LocalShard(path, path.relative_to(root).as_posix()) for path in paths), root


def _name(source: str | Sequence[Path], root: Path | None) -> str:
    """What the data is called: the folder of the shards."""
    if root is not None:
        return root.resolve().name or "shards"
    address = urlsplit(str(source))
    parts = [part for part in address.path.split("/")[:-1] if part and "{" not in part]
    return parts[-1] if parts else address.hostname or "shards"


def _samples(shards: Sequence[Shard], progress: Progress | None) -> list[ShardSamples]:
    """What the shards hold, several read at once, each put down in little room before the next are read."""
    found = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for _, samples in in_order(pool, ShardSamples.of, shards, threads=_THREADS):
            found.append(samples)
            if progress is not None:
                progress("reading shards", len(found), len(shards))
    return found


def _images(shards: tuple[Shard, ...], samples: Sequence[ShardSamples], folder: str, root: Path | None) -> ShardImages:
    names = Names.joined([each.names for each in samples])
    if not names.are_unique():
        pairs = list(zip(shards, samples, strict=True))
        names = Names([f"{shard.name}/{name}" for shard, each in pairs for name in each.names])
    counts = [len(each.names) for each in samples]
    return ShardImages(
        shards=shards,
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), counts),
        offsets=np.concatenate([each.offsets for each in samples]),
        sizes=np.concatenate([each.sizes for each in samples]),
        sha256=np.concatenate([each.sha256 for each in samples]),
        names=names,
        folder=folder,
        root=root,
    )


def _end(name: str) -> str:
    """The last two parts of a path: a folder further up may be called test and mean nothing."""
    return "/".join(name.split("/")[-2:])


def _declared(shards: Sequence[Shard], root: Path | None, class_map: str | Path | None) -> Declared | None:
    """The names of the classes in the order of their numbers; None where nothing tells."""
    if class_map is not None:
        return Declared(read_class_map(class_map), str(class_map))
    if root is not None:
        return Declared(read_class_map(root / CLASSES), CLASSES) if (root / CLASSES).is_file() else None
    first = shards[0]
    text = text_beside(first, CLASSES) if isinstance(first, WebShard) else None
    classes = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    return Declared(classes, CLASSES) if classes else None
