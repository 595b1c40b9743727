"""Tar shards for tests, made member by member; and a web server for them that can misbehave."""

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

File = tuple[str, bytes]


def picture(number: int, *, size: tuple[int, int] = (8, 8), suffix: str = "png") -> bytes:
    """A picture whose red is its number; no two numbers give the same."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    pixels[..., 0] = number % 256
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {"png": "PNG", "jpg": "JPEG"}[suffix])
    return file.getvalue()


def sample(number: int, label: object = 0, *, key: str | None = None) -> list[File]:
    """A picture and its .cls."""
    key = f"{number:04d}" if key is None else key
    return [(f"{key}.png", picture(number)), (f"{key}.cls", str(label).encode())]


def tar_bytes(files: list[File | tarfile.TarInfo]) -> bytes:
    """A tar of plain files, and of members that are given as such and have no content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                tar.addfile(file)
            else:
                member = tarfile.TarInfo(file[0])
                member.size = len(file[1])
                tar.addfile(member, io.BytesIO(file[1]))
    return out.getvalue()


def write_tar(path: Path, files: list[File | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(files))
    return path


def shard_folder(folder: Path, *, shards: int = 4, each: int = 6, split: str = "train") -> Path:
    """Shards of pictures with the labels 0 and 1 in turn."""
    for shard in range(shards):
        first = shard * each
        files = [file for number in range(first, first + each) for file in sample(number, number % 2)]
        write_tar(folder / f"{split}-{shard:03d}.tar", files)
    return folder


class Web:
    """What the server does, and what it was asked.

    Args:
        files: by path.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.etags = {path: f'"{len(content)}-1"' for path, content in files.items()}
        self.has_ranges = True
        self.breaks_after: list[int] = []  # bytes, of the answers that come next, after which the connection breaks
        self.fails_with: list[int] = []  # codes of the answers that come next
        self.asked: list[tuple[str, str]] = []
        self.url = ""


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[Web]:
    """A server on this machine."""
    web = Web(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range", "")
            web.asked.append((path, wanted))
            if web.fails_with:
                self.send_error(web.fails_with.pop(0))
                return
            if path not in web.files:
                self.send_error(404)
                return
            content = web.files[path]
            if wanted and web.has_ranges:
                start, stop = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
                part = content[start : stop + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop}/{len(content)}")
            else:
                part = content
                self.send_response(200)
            if web.etags.get(path):
                self.send_header("ETag", web.etags[path])
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if web.breaks_after and len(part) > 1:
                self.wfile.write(part[: web.breaks_after.pop(0)])
                self.close_connection = True
                return
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked has heard enough
                self.wfile.write(part)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
