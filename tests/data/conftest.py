"""Small pictures and folders of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sightline.data import residence

MakePicture = Callable[..., Path]


@pytest.fixture
def make_picture(tmp_path: Path) -> MakePicture:
    """Write one picture of one colour: make_picture("photos/cat/1.png", (255, 0, 0), size=(height, width))."""

    def make(name: str, colour: object = (200, 100, 50), *, size: tuple[int, int] = (8, 12), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size[::-1], colour).save(path)  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture
def photos(tmp_path: Path, make_picture: MakePicture) -> Path:
    """A flat folder: 10 cats and 20 dogs."""
    for kind, count in (("cat", 10), ("dog", 20)):
        for number in range(count):
            make_picture(f"photos/{kind}/{number:02d}.png", (number, count, 7))
    return tmp_path / "photos"


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device than the CPU has room for ten pictures of store_of, a quarter of what is free."""
    monkeypatch.setattr(residence, "free_bytes", lambda device: 4 * 10 * 8 * 8 * 3)
