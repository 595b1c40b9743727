"""No test writes into the user's cache."""

import uuid

import pytest


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a test keeps of pictures goes into a folder of its own, which is made when it is needed."""
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / uuid.uuid4().hex))
    monkeypatch.delenv("SIGHTLINE_CACHE_GB", raising=False)
