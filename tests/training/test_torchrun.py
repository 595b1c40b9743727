"""What torchrun tells a process is understood, and what makes no sense is refused with the way out."""

import re

import pytest
import torch

from sightline.errors import ConfigError
from sightline.training.torchrun import Place, read_place

WHOLE = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("environment", [WHOLE], indirect=True)
def test_the_place_is_what_torchrun_says(environment: None) -> None:
    assert read_place() == Place(rank=5, size=8, local_rank=1, address="node0:29500")


@pytest.mark.parametrize("environment", [{}, {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}], indirect=True)
def test_a_process_that_was_started_alone_is_alone(environment: None) -> None:
    assert read_place() == Place(rank=0, size=1, local_rank=0, address="")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            "the environment holds RANK, WORLD_SIZE and lacks LOCAL_RANK, MASTER_ADDR, MASTER_PORT: half of what "
            "torchrun sets. Start with torchrun --nproc-per-node N -m sightline train ..., or alone after: "
            "unset RANK WORLD_SIZE",
        ),
        ({**WHOLE, "LOCAL_RANK": ""}, "and lacks LOCAL_RANK: half of what torchrun sets"),
        ({**WHOLE, "RANK": "-1"}, "RANK is '-1'; it must be a whole number. Let torchrun set it, or unset it."),
        (
            {**WHOLE, "RANK": "8"},
            "RANK is 8 and LOCAL_RANK 1; both must be below WORLD_SIZE, which is 8. "
            "Let torchrun set them, or train alone after: unset RANK WORLD_SIZE LOCAL_RANK",
        ),
    ],
    indirect=["environment"],
)
def test_an_environment_that_makes_no_sense_is_refused(environment: None, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_place()


def test_each_process_has_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    current = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert Place(3, 4, 1, "node0:1").own_device(torch.device("cuda")) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]
    assert Place(3, 4, 1, "node0:1").own_device(torch.device("cpu")) == torch.device("cpu")
    assert Place(0, 1, 0, "").own_device(torch.device("cuda:1")) == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("local_rank", "device", "message"),
    [
        (2, "cuda", "more processes than the 2 GPUs of this machine: this is number 2, from 0. "
         "Give it --nproc-per-node 2, or train with --device cpu."),
        (1, "cuda:1", "device is cuda:1, one device for 4 processes. Give --device cuda"),
        (1, "mps", "device is mps, one device for 4 processes. Give --device cuda"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_for_each_is_refused(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=re.escape(message)):
        Place(3, 4, local_rank, "node0:1").own_device(torch.device(device))
