"""Hugging Face's folder layouts: metadata files that name pictures, and Parquet files that hold them."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from sightline.data import parquet
from sightline.data.catalog import SPLITS, Catalog, Split
from sightline.data.folder import SPLIT_FOLDERS, Scan
from sightline.data.labelling import has_labels
from sightline.data.table import read_csv, read_jsonl
from sightline.data.tabular import Part, read_parts
from sightline.errors import DataError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
TABLES = {".csv": read_csv, ".tsv": read_csv, ".jsonl": read_jsonl, parquet.SUFFIX: parquet.read_parquet_table}


def read_layout(folder: Path, *, channels: Literal[1, 3] | None, group_by: str | None) -> Catalog | None:
    """Read a folder in one of Hugging Face's layouts.

    Args:
        folder: with metadata.csv, metadata.jsonl or metadata.parquet, whose column file_name names the pictures beside
            or below it, in itself or in its folders train, val and test; or with Parquet files that hold pictures.
        channels: 3 for RGB, 1 for grey; None for grey where every picture looked at is grey.
        group_by: see `grouping.grouped`.

    Returns:
        The catalog; None where it is no such folder.

    Raises:
        DataError: the files cannot be read.
        MissingExtraError: pyarrow is needed and not installed.
    """
    places = [("", None), *_split_folders(folder)]
    found = [(place, split, file) for place, split in places for file in METADATA if (folder / place / file).is_file()]
    if found:
        return _of_metadata(folder, found, channels=channels, group_by=group_by)
    files = [path for place in ("", "data", *(place for place, _ in places[1:]))
             for path in sorted((folder / place).glob(f"*{parquet.SUFFIX}"))]  # fmt: skip
    if not files or _has_class_folders(folder, but=("data",)):
        return None
    return parquet.read_picture_files(
        folder.resolve().name, folder, list(dict.fromkeys(files)), channels=channels, group_by=group_by
    )


def read_table_file(path: Path, *, channels: Literal[1, 3] | None, group_by: str | None) -> Catalog:
    """Read a CSV, JSON lines or Parquet file that names pictures, or a Parquet file that holds them.

    Raises:
        DataError: it cannot be read.
        MissingExtraError: pyarrow is needed and not installed.
    """
    suffix = path.suffix.lower()
    if suffix == parquet.SUFFIX and parquet.is_of_pictures(path):
        return parquet.read_picture_files(path.stem, path.parent, [path], channels=channels, group_by=group_by)
    return read_parts(path.stem, path.parent, [Part(TABLES[suffix](path))], channels=channels, group_by=group_by)


def _split_folders(folder: Path) -> list[tuple[str, Split]]:
    """The folders that are called like a split."""
    found = [(each.name, cast("Split", SPLIT_FOLDERS[each.name.lower()]))
             for each in folder.iterdir() if each.name.lower() in SPLIT_FOLDERS and each.is_dir()]  # fmt: skip
    return sorted(found, key=lambda each: (SPLITS.index(each[1]), each[0]))


def _of_metadata(
    folder: Path, found: list[tuple[str, Split | None, str]], *, channels: Literal[1, 3] | None, group_by: str | None
) -> Catalog | None:
    used = () if group_by is None else (group_by.lower(),)
    parts = []
    for place, split, file in found:
        path = folder / place / file
        is_beside_classes = _has_class_folders(folder / place, is_split=bool(place))
        try:
            table = TABLES[path.suffix](path)
        except DataError:
            if is_beside_classes:
                return None
            raise
        if is_beside_classes and not has_labels(table, but=used):
            return None  # it is about something else than the labels, which are the names of folders
        parts.append(Part(table, place, split))
    catalog = read_parts(folder.resolve().name, folder, parts, channels=channels, group_by=group_by)
    unnamed = set(Scan(folder).pictures("")) - {catalog.images.name(index) for index in range(len(catalog))}
    unnamed -= {problem.path for problem in catalog.problems}
    if not unnamed:
        return catalog
    shown = ", ".join(sorted(unnamed)[:5]) + (", ..." if len(unnamed) > 5 else "")
    note = f"Ignored {len(unnamed):,} pictures that no row of the metadata names: {shown}"
    return replace(catalog, notes=(*catalog.notes, note))


def _has_class_folders(folder: Path, *, is_split: bool = False, but: tuple[str, ...] = ()) -> bool:
    """Whether there are folders that are no splits, or folders in those."""
    scan = Scan(folder)
    folders = [name for name in scan.children("")[0] if name not in but]
    splits = [] if is_split else [name for name in folders if name.lower() in SPLIT_FOLDERS]
    return len(splits) < len(folders) or any(scan.children(name)[0] for name in splits)
