"""Shards on a web server: the same data set, through breaks, refusals and servers that know no ranges."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sightline.data import web
from sightline.data.sources import open_data
from sightline.data.web import WebFile
from sightline.errors import DataError
from sightline.recipes.data import reopenable
from tests.data.shard_files import Web, picture, sample, served, shard_folder, tar_bytes


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    return paused


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Web]:
    """Four shards of six pictures, and the names of their classes."""
    folder = shard_folder(tmp_path / "set")
    files = {f"set/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with served({**files, "set/classes.txt": b"cat\ndog\n"}) as running:
        yield running


def address(site: Web) -> str:
    return f"{site.url}/set/train-{{000..003}}.tar"


def contents(catalog: object) -> list[bytes]:
    return [catalog.images.content(index) for index in range(len(catalog))]  # type: ignore[attr-defined, arg-type]


PICTURES = [picture(number) for number in range(24)]


def test_shards_of_a_server_are_those_of_the_folder(site: Web, tmp_path: Path) -> None:
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\n")
    there, here = open_data(address(site)), open_data(tmp_path / "set")
    assert (there.name, there.classes, there.root) == ("set", ("cat", "dog"), None)
    assert there.labels.tolist() == here.labels.tolist()
    assert there.splits.tolist() == here.splits.tolist()
    assert (there.images.sha256 == here.images.sha256).all()  # type: ignore[attr-defined]
    assert contents(there) == contents(here) == PICTURES
    assert reopenable(address(site)) == address(site)


def test_a_shard_is_fetched_once_and_kept(site: Web) -> None:
    open_data(address(site))
    site.asked.clear()
    again = open_data(address(site))
    assert contents(again) == PICTURES
    assert {wanted for path, wanted in site.asked if path.endswith(".tar")} == {"bytes=0-0"}  # is it still the same?


def test_without_room_pictures_are_asked_for_one_by_one(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    catalog = open_data(address(site))
    site.asked.clear()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(catalog.images.content, range(24))) == PICTURES
    sizes = [int(stop) - int(start) + 1 for _, wanted in site.asked for start, stop in [wanted[6:].split("-")]]
    assert sorted(sizes) == sorted(map(len, PICTURES))  # and not a byte more


def test_the_copies_keep_within_their_limit(site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(site.files["set/train-000.tar"])
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTLINE_CACHE_GB", str(2.5 * size / 1e9))
    monkeypatch.setattr("sightline.data.shards._THREADS", 1)
    catalog = open_data(address(site))
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").glob("shard-*"))
    assert size <= kept <= 2.5 * size
    assert contents(catalog) == PICTURES


def test_a_server_without_ranges(site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.has_ranges = False
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    catalog = open_data(address(site))
    for path in (tmp_path / "cache").glob("shard-*"):
        path.unlink()
    site.asked.clear()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(catalog.images.content, range(6))) == PICTURES[:6]
    assert len(site.asked) == 1  # one fetch for all of the shard
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    with pytest.raises(DataError, match="does not give a part of the file, and there is no room to keep it here"):
        catalog.images.content(0)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_connection_that_breaks_goes_on_where_it_broke(
    site: Web, has_ranges: bool, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.has_ranges = has_ranges
    url = f"{site.url}/set/train-000.tar"
    file = WebFile(url)
    size = file.about.num_bytes
    site.asked.clear()
    site.breaks_after = [700, 0, 5000]
    assert b"".join(file.stream()) == site.files["set/train-000.tar"]
    if has_ranges:
        assert [wanted for _, wanted in site.asked][:3] == [f"bytes={start}-{size - 1}" for start in (0, 700, 700)]
    assert len(no_pauses) >= 2  # what was sent right before the break may be lost with it, or not


def test_a_connection_that_breaks_again_and_again(site: Web, no_pauses: list[float]) -> None:
    site.breaks_after = [0] * 20
    with pytest.raises(DataError, match=r"the connection ended early, 5 times in a row. Try again later"):
        b"".join(WebFile(f"{site.url}/set/train-000.tar").stream())
    assert no_pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(site: Web, no_pauses: list[float]) -> None:
    site.fails_with = [503, 500, 429]
    assert len(open_data(address(site))) == 24
    assert len(no_pauses) == 3
    with pytest.raises(DataError, match=r"train-009.tar: the server answered 404 Not Found. Check the address"):
        open_data(f"{site.url}/set/train-009.tar")
    assert len(no_pauses) == 3
    site.fails_with = [500] * 99
    with pytest.raises(DataError, match=r"the server answered 500 .*, 5 times in a row"):
        open_data(address(site))


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with served({}) as gone:
        pass
    with pytest.raises(DataError, match=r"no connection \(.*\), 5 times in a row"):
        open_data(f"{gone.url}/train-0.tar")


def test_a_shard_that_changes_under_the_run(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    catalog = open_data(address(site))
    site.etags["set/train-000.tar"] = '"another"'
    with pytest.raises(DataError, match=r"train-000.tar has changed since it was opened"):
        catalog.images.content(0)
    site.etags["set/train-001.tar"] = ""  # a server that does not tell: the content does
    catalog = open_data(f"{site.url}/set/train-001.tar")
    site.files["set/train-001.tar"] = tar_bytes(
        [file for number in range(24, 30) for file in sample(number, number % 2)]
    )
    with pytest.raises(DataError, match=r"train-001.tar has changed since it was opened"):
        for index in range(6):
            catalog.images.content(index)


def test_a_file_that_goes_away_or_shrinks(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", "off")
    catalog = open_data(address(site))
    site.files["set/train-000.tar"] = b"short"
    with pytest.raises(DataError, match="has changed since it was opened"):
        catalog.images.content(5)
    del site.files["set/train-000.tar"]
    with pytest.raises(DataError, match="404 Not Found, and it was there when the run began"):
        catalog.images.content(0)


def test_a_shard_that_is_cut_off_on_the_server(site: Web) -> None:
    site.files["set/train-003.tar"] = site.files["set/train-003.tar"][:-12000]
    (problem,) = open_data(address(site)).problems
    assert "train-003.tar" in problem.path and "is damaged or cut off" in problem.reason


def test_waiting_has_an_end() -> None:
    assert web.TIMEOUT_S <= 60 and web.PAUSE_S * 2**web.ATTEMPTS <= 60
