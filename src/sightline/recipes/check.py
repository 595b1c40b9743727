"""A data set, looked through before it is trained on: what is broken, twice there, leaking, odd; and what suits it."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sightline.data.catalog import Catalog
from sightline.data.clean_split import clean_split, require_writable, write_split
from sightline.data.copies import exact_copies, is_published
from sightline.data.duplicates import Pair, clusters, find_duplicates
from sightline.data.finding import SEVERITIES, Finding, unreadable
from sightline.data.fingerprint import Fingerprints
from sightline.data.leaks import divided_groups, duplicates, exact_pairs, group_leaks
from sightline.data.measure import Measures, Progress, measure
from sightline.data.quality import imbalance, presentation, quality
from sightline.data.sources import Data
from sightline.errors import BundleError
from sightline.progress import bars
from sightline.recipes.check_advice import advise
from sightline.recipes.data import open_catalog, picture_source, split_for
from sightline.recipes.settings import Settings
from sightline.recipes.suspects import Wish, seek_suspects
from sightline.report.check_figures import figures_of
from sightline.report.check_page import write_page
from sightline.report.check_result import CheckResult, as_path
from sightline.runtime import choose_runtime


def check(
    data: Data,
    *,
    settings: Settings | None = None,
    near: bool = True,
    suspects: bool | None = None,
    suspects_with: str | Path | None = None,
    suspects_csv: str | Path | None = None,
    output: str | Path | None = None,
    fix_split: str | Path | None = None,
    console: Console | None = None,
) -> CheckResult:
    """Looks through a data set: each picture once, whole; writes nothing but what is asked for.

    Args:
        data: as `train` takes it.
        settings: of the training that it is for: what decides on splits, classes, groups and the network.
        near: look for near duplicates, too; without, only for pictures with the same pixels.
        suspects: look for labels that are probably wrong: True whatever it takes, False not at all, None where it takes
            three minutes at most by the estimate and something at hand can judge.
        suspects_with: a bundle that judges the labels; None takes the cheapest that works.
        suspects_csv: a CSV to write the suspicious labels to; None for none.
        output: where the page goes: a file that ends in .html, or a folder, for check.html in it; None for no page.
        fix_split: a CSV to write, with a split in which no leak is left; None for none.
        console: where progress is shown; None takes standard error.

    Returns:
        What was found. An unreadable file is a finding, not an error. `str()` is the summary, `to_dict()` has
        everything, `exit_code` is 1 for a leak or an unreadable file.

    Raises:
        ConfigError: a setting is wrong, or `fix_split` or `suspects_csv` cannot be written.
        DataError: there is no such data, or it cannot be trained on at all.
        BundleError: the bundle of `suspects_with` cannot be used, or the page cannot be written.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((4, 8, 8), np.uint8)
        >>> pixels[1::2] = np.arange(8)
        >>> result = check((pixels, np.array(["dark", "striped"] * 2)), console=Console(quiet=True))
        >>> [finding.kind for finding in result.findings], result.exit_code
        (['leak', 'one_colour', 'black'], 1)
    """
    wish = Wish(suspects, _path(suspects_with), _path(suspects_csv))
    console = console or Console(stderr=True)
    settings = settings or Settings()
    runtime = choose_runtime(device=settings.device, amp=settings.amp, threads=settings.threads)
    opened = open_catalog(data, settings, console)
    if fix_split is not None:
        require_writable(opened, Path(fix_split))
    catalog, notes = _split(opened, settings)
    with bars(console) as bar:
        started = time.perf_counter()
        measures = measure(catalog, threads=max(runtime.threads, os.cpu_count() or 1), progress=bar("looking"))
        looking_s = time.perf_counter() - started
        pairs = _pairs(measures, near=near, progress=bar("comparing"))
    search = seek_suspects(
        catalog, measures, clusters(pairs), settings, runtime, wish, looking_s=looking_s, console=console
    )
    found = (*_findings(catalog, measures, pairs), *search.findings)
    findings = sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
    fixed = [] if fix_split is None else _fix(Path(fix_split), catalog, measures, pairs)
    result = CheckResult(
        name=catalog.name,
        root=None if catalog.root is None else str(catalog.root),
        classes=catalog.classes,
        counts=catalog.counts(),
        notes=(*catalog.notes, *notes, *search.notes),
        figures=figures_of(catalog, measures),
        findings=tuple(findings),
        advice=tuple(advise(catalog, measures, settings, runtime)),
        fixed=tuple(fixed),
        num_pictures=len(catalog),
        suspects=search.summary,
    )
    if output is not None:
        _write_page(as_path(Path(output)), result, catalog)
    return result


def _path(name: str | Path | None) -> Path | None:
    return None if name is None else Path(name)


def _split(opened: Catalog, settings: Settings) -> tuple[Catalog, list[str]]:
    """The splits that a training would have; groups that the data's own splits divide are a finding, not an end."""
    copies = exact_copies(opened.images, threads=settings.threads or os.cpu_count() or 1)
    if not divided_groups(opened):
        return split_for(opened, settings, copies)
    catalog, notes = split_for(replace(opened, groups=None, group_names=()), settings, copies)
    return replace(catalog, groups=opened.groups, group_names=opened.group_names), notes


def _pairs(measures: Measures, *, near: bool, progress: Progress | None) -> list[Pair]:
    """The pictures that are one, as indices of the catalog; what cannot be read is like nothing."""
    read = measures.readable
    prints = Fingerprints(measures.prints.digests[read], measures.prints.lumas[read])
    found = find_duplicates(prints, progress=progress) if near and len(read) > 1 else exact_pairs(prints)
    return [Pair(int(read[pair.first]), int(read[pair.second]), pair.kind, pair.score) for pair in found]


def _findings(catalog: Catalog, measures: Measures, pairs: list[Pair]) -> Iterator[Finding]:
    yield from unreadable(catalog, measures.problems)
    yield from duplicates(catalog, pairs, published=is_published(catalog))
    yield from group_leaks(catalog, divided_groups(catalog))
    yield from imbalance(catalog)
    yield from quality(catalog, measures)
    yield from presentation(catalog, measures)


def _fix(path: Path, catalog: Catalog, measures: Measures, pairs: list[Pair]) -> Iterator[str]:
    clean = clean_split(catalog, clusters(pairs), measures.problems)
    left_out = write_split(path, catalog, clean)
    yield f"{path}: {len(catalog) - len(left_out):,} pictures, {clean}"
    yield from (f"  left out: {problem}" for problem in left_out)


def _write_page(path: Path, result: CheckResult, catalog: Catalog) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(path, result, picture=picture_source(catalog))
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}. Name another place with --output.") from error
