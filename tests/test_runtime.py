"""The machine, chosen once and said."""

import pytest
import torch

from sightline.errors import ConfigError
from sightline.runtime import choose_runtime, environment


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_only_where_the_cpu_has_it(has_bfloat16: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.runtime._cpu_has_bfloat16", lambda: has_bfloat16)
    runtime = choose_runtime(device="cpu")
    assert runtime.precision == expected
    assert any(expected in reason for reason in runtime.reasons)


@pytest.mark.parametrize(("amp", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_follows_the_choice(amp: bool, dtype: torch.dtype) -> None:
    with choose_runtime(device="cpu", amp=amp, threads=1).autocast():
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


def test_threads_are_set_and_said() -> None:
    runtime = choose_runtime(device="cpu", amp=False, threads=1)
    assert torch.get_num_threads() == runtime.threads == 1
    assert "1 threads: as asked" in runtime.reasons


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads is 0; give 1 or more"),
        ({"device": "gpu"}, "device is 'gpu', which torch does not know"),
        ({"device": "xpu:7"}, "device is 'xpu:7', and this machine has"),
    ],
)
def test_a_wrong_machine_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_runtime(**arguments)  # type: ignore[arg-type]


def test_the_record_names_versions() -> None:
    assert environment()["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("variables", "asked", "expected", "why"),
    [
        ({}, None, 8, "8 threads: the cores this process may use"),
        ({}, 3, 3, "3 threads: as asked"),
        ({"OMP_NUM_THREADS": "2"}, None, 2, "2 threads: OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "2"}, 4, 4, "4 threads: as asked"),
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "4"}, None, 2, "2 threads: the cores, shared by 4 processes"),
        ({"LOCAL_WORLD_SIZE": "16"}, None, 1, "1 threads: the cores, shared by 16 processes"),
    ],
)
def test_threads_are_those_asked_for_or_the_cores(
    variables: dict[str, str], asked: int | None, expected: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sightline.runtime._cores", lambda: 8)
    before = torch.get_num_threads()
    try:
        runtime = choose_runtime(device="cpu", threads=asked)
    finally:
        torch.set_num_threads(before)
    assert runtime.threads == expected
    assert why in runtime.reasons
