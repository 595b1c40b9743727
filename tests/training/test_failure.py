"""The first failure of a run is what torchrun prints last, in words; read here by torchrun's own classes."""

from pathlib import Path

import pytest
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from sightline.errors import ConfigError, Interrupted, TrainingError
from sightline.training.failure import named_failures

LOST = "[/w/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:20885. Check the logs of ..."


def _end_of_output(error: BaseException, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What torchrun prints last when process 3 fails so, and process 0 was killed for it."""
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    with pytest.raises(type(error)), named_failures(3, 4, grace_s=0):
        raise error
    failures = {  # in the order in which it sees them
        3: ProcessFailure(local_rank=3, pid=2, exitcode=2, error_file=str(path)),
        0: ProcessFailure(local_rank=0, pid=1, exitcode=-15, error_file=""),
    }
    return str(ChildFailedError("sightline", failures)).rpartition("Root Cause (first observed failure):")[2]


def test_torchrun_ends_with_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = _end_of_output(ConfigError("epochs is 0; it must be 1 or more."), tmp_path / "error.json", monkeypatch)
    assert "traceback : process 3 of 4: epochs is 0; it must be 1 or more.\n" in end
    assert "rank      : 3" in end
    assert "Traceback (most recent call last)" not in end


def test_of_an_error_that_is_none_of_ours_the_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = _end_of_output(ZeroDivisionError("division by zero"), tmp_path / "error.json", monkeypatch)
    assert "process 3 of 4: Traceback (most recent call last)" in end
    assert "test_failure.py" in end
    assert "ZeroDivisionError: division by zero" in end


@pytest.mark.parametrize("error", [RuntimeError(LOST), distributed.DistNetworkError("The client socket has failed")])
def test_who_only_lost_another_is_no_cause(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    message = r"process 0 of 2 lost another one, or waited too long for it \((Connection closed by peer|The client)"
    with pytest.raises(TrainingError, match=message), named_failures(0, 2, grace_s=0):
        raise error
    assert not (tmp_path / "error.json").exists()


def test_other_errors_pass_as_they_are_without_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), named_failures(0, 2, grace_s=0):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_stop_that_was_asked_for_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(Interrupted), named_failures(0, 2):
        raise Interrupted("stopped by SIGTERM", exit_code=143)
    assert not (tmp_path / "error.json").exists()
