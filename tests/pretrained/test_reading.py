"""Files of weights: read in every form, and refused before anything is run or allocated."""

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sightline.errors import BundleError, ConfigError, SightlineError
from sightline.pretrained.reading import open_weights
from tests.pretrained.files import Storage, View, archive, legacy, pickled, safetensors, small_state

HUGE = 25_000_000_000  # elements of 4 bytes: 100 GB


def _save_parameters(path: Path) -> None:
    torch.save(OrderedDict((k, torch.nn.Parameter(v, v.is_floating_point())) for k, v in small_state().items()), path)


WHOLE: dict[str, Callable[[Path], None]] = {
    "weights.safetensors": lambda path: save_file(small_state(), path),
    "archive.pth": lambda path: torch.save(small_state(), path),
    "legacy.pth": lambda path: torch.save(small_state(), path, _use_new_zipfile_serialization=False),
    "plain_dict.pt": lambda path: torch.save(dict(small_state()), path),
    "parameters.bin": _save_parameters,
    "module.pth": lambda path: torch.save({f"module.{k}": v for k, v in small_state().items()}, path),
    "state_dict.pth": lambda path: torch.save({"epoch": 3, "acc": 0.5, "state_dict": small_state()}, path),
    "model.pth": lambda path: torch.save(
        {"model": {f"module.{k}": v for k, v in small_state().items()}, "optimizer": {"state": {0: torch.ones(2)}}},
        path,
    ),
    "named wrongly.jpg": lambda path: torch.save(small_state(), path),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_form_gives_the_same_tensors_in_the_same_order(name: str, tmp_path: Path) -> None:
    WHOLE[name](tmp_path / name)
    file = open_weights(tmp_path / name)
    tensors = file.load()
    names = list(small_state())
    assert sorted(file.declared) == sorted(names)
    if not name.endswith(".safetensors"):  # safetensors sorts by kind and name
        assert list(file.declared) == names
    for entry, value in small_state().items():
        assert (file.declared[entry].shape, file.declared[entry].dtype) == (tuple(value.shape), value.dtype)
        assert torch.equal(tensors[entry], value)
        assert not tensors[entry].requires_grad


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("module.pth", ("'module.' taken off every name",)),
        ("state_dict.pth", ("weights taken from the file's 'state_dict'; the rest of it is not read",)),
        ("archive.pth", ()),
    ],
)
def test_what_is_taken_off_is_said(name: str, notes: tuple[str, ...], tmp_path: Path) -> None:
    WHOLE[name](tmp_path / name)
    assert open_weights(tmp_path / name).notes == notes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool])
def test_kinds_of_numbers_are_declared(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3, 2, dtype=dtype)}, tmp_path / "a.pth")
    save_file({"a": torch.ones(3, 2, dtype=dtype)}, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        assert open_weights(path).declared == {"a": ((3, 2), dtype)}


def test_views_that_share_a_storage_are_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"rows": base[1:], "turned": base.t(), "whole": base}, tmp_path / "a.pth")
    tensors = open_weights(tmp_path / "a.pth").load()
    assert torch.equal(tensors["rows"], base[1:])
    assert torch.equal(tensors["turned"], base.t())


# ------------------------------------------------------------------------------------------------------------- hostile


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is refused is refused before torch sees it."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was called")

    monkeypatch.setattr(torch, "load", load)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("form", ["archive", "legacy", "plain pickle", "beside the weights"])
def test_code_in_a_pickle_is_named_and_never_runs(form: str, tmp_path: Path) -> None:
    path, planted = tmp_path / "hostile.pth", tmp_path / "planted"
    payload = Payload(planted)
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({"a": payload}))
    else:
        value = {"state_dict": small_state(), "extra": payload} if form == "beside the weights" else {"a": payload}
        torch.save(value, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(BundleError) as caught:
        open_weights(path)
    assert not planted.exists()
    assert "\n" not in str(caught.value)
    if form == "plain pickle":
        assert "is a pickle of Python objects" in str(caught.value)
    else:
        assert f"names {os.system.__module__}.system, which is no part of weights and could be code" in str(
            caught.value
        )
    # the bug put back: what torch itself would do without its guard
    if form != "plain pickle":
        pickle.loads(pickle.dumps(payload))
        assert planted.exists()


def _one(program: object, content: bytes, *, is_legacy: bool, path: Path) -> Path:
    return (legacy if is_legacy else archive)(path, pickled(program), {"0": content})


def _claims(numel: int, size: tuple[int, ...], stride: tuple[int, ...]) -> dict[str, View]:
    return {"conv.weight": View(Storage("0", numel), 0, size, stride)}


def _memo_bomb(path: Path) -> Path:
    """Puts one object at the place 4,294,967,295 of the memo, for which C's pickle takes 64 GB."""
    return archive(path, b"\x80\x02}r\xff\xff\xff\xff.", {})


def _bytearray_bomb(path: Path) -> Path:
    """bytearray(100 GB), which torch.load allows and makes."""
    return archive(path, b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\xe8vH\x17\x85R.", {})


def _string_bomb(path: Path) -> Path:
    """A text that says to be 4 GB long."""
    return legacy(path, b"\x80\x02X\xff\xff\xff\xffabc", {})


def _hidden_in_a_key(path: Path) -> Path:
    """A dictionary whose key is tuples in tuples, which takes 2^n steps to hash."""
    return archive(path, b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.", {})


def _text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def _built(state: bytes) -> Callable[[Path], Path]:
    """Weights of which one is given a state, which torch hands to Tensor.set_; the storage is memoised as 0."""
    identity = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x01tQq\x00"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + b"K\x00K\x01\x85K\x01\x85\x89}tR"
    return lambda path: archive(path, b"\x80\x02}" + _text("a") + tensor + state + b"bs.", {"0": b"1234"})


def _hides_a_method(path: Path) -> Path:
    """A state dict whose attribute lies before its method items()."""
    ordered = b"\x80\x02ccollections\nOrderedDict\n)R"
    return archive(path, ordered + b"}" + _text("items") + b"K\x01sb.", {})


_NESTED = b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(20))  # tuples of two, 2^20 when written out


def _nested_kind(path: Path) -> Path:
    return archive(path, b"\x80\x02(" + _NESTED + b"ctorch\nFloatStorage\nK\x00K\x00K\x00tQ.", {})


def _nested_numel(path: Path) -> Path:
    start = b"\x80\x02(" + _text("storage") + b"ctorch\nFloatStorage\nK\x00K\x00"
    return archive(path, start + _NESTED + b"tQ.", {})


def _nested_version(path: Path) -> Path:
    return path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02" + _NESTED + b".") and path


def _nested_keys(path: Path) -> Path:
    header = b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1001, {}, {})))
    return path.write_bytes(header + b"\x80\x02]" + _NESTED + b"a.") and path


def _long_name(path: Path) -> Path:
    return archive(path, b"\x80\x02c" + 10**6 * b"a" + b"\nb\n.", {})


def _many_dimensions(path: Path) -> Path:
    """One tuple of 30,000 sizes, taken by 6,000 tensors: 180 million steps."""
    sizes = b"(" + 30_000 * b"K\x01" + b"tq\x01"
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x01tQq\x00"
    made = b"ctorch._utils\n_rebuild_tensor_v2\nq\x02" + 6_000 * b"h\x02(h\x00K\x00h\x01h\x01tR"
    return archive(path, b"\x80\x02](" + sizes + storage + made + b"e.", {"0": b"1234"})


def _one_list_often(path: Path) -> Path:
    """One list of 30,000 pairs, of which 6,000 dictionaries are made."""
    pairs = b"](" + 30_000 * b"K\x01K\x01\x86" + b"eq\x01"
    made = b"ccollections\nOrderedDict\nq\x02" + 6_000 * b"h\x02h\x01\x85R"
    return archive(path, b"\x80\x02](" + pairs + made + b"e.", {})


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "huge storage, archive": (
        lambda path: _one(_claims(HUGE, (HUGE,), (1,)), b"1234", is_legacy=False, path=path),
        "storage 0 is declared as 100,000,000,000 bytes, and the file has fewer",
    ),
    "huge storage, legacy": (
        lambda path: _one(_claims(HUGE, (HUGE,), (1,)), b"1234", is_legacy=True, path=path),
        "storages are declared as 100,000,000,008 bytes, and the file has 12",
    ),
    "huge view of a small storage": (
        lambda path: _one(_claims(1, (HUGE,), (1,)), b"1234", is_legacy=False, path=path),
        "reaches beyond its storage of 1 elements",
    ),
    "expanded view": (
        lambda path: _one(_claims(1, (500_000, 50_000), (0, 0)), b"1234", is_legacy=False, path=path),
        "repeats its storage of 1 elements",
    ),
    "expanded view, legacy": (
        lambda path: _one(_claims(1, (500_000, 50_000), (0, 0)), b"1234", is_legacy=True, path=path),
        "repeats its storage of 1 elements",
    ),
    "negative sizes": (
        lambda path: _one(_claims(1, (-1, -1), (1, 1)), b"1234", is_legacy=False, path=path),
        "a tensor has no storage or no sizes",
    ),
    "one storage of two sizes": (
        lambda path: archive(
            path, pickled({**_claims(1, (1,), (1,)), "b": View(Storage("0", 2), 0, (2,), (1,))}), {"0": b"1234"}
        ),
        "storage 0 is declared twice and differently",
    ),
    "state of a tensor": (_built(b"(h\x00K\x00J\x00^\xd0\xb2\x85K\x00\x85t"), "sets attributes of a Declared"),
    "empty state of a tensor": (_built(b")"), "sets attributes of a Declared"),
    "state of a tensor that is nothing": (_built(b"N"), "sets attributes of a Declared"),
    "state of a tensor that is a number": (_built(b"K\x01"), "sets attributes of a Declared"),
    "hidden method": (_hides_a_method, "sets an attribute that every dictionary has"),
    "nested kind": (_nested_kind, "an object outside of the pickle that is no storage"),
    "nested number of elements": (_nested_numel, "storage 0 has no number of elements"),
    "nested version": (_nested_version, "its protocol version is not 1001"),
    "nested keys": (_nested_keys, "its storages have no list of names"),
    "long name": (_long_name, "names a+[.]{3}, which is no part of weights"),
    "many dimensions": (_many_dimensions, "a tensor has more than 8 dimensions"),
    "one list often": (_one_list_often, "of one list again and again"),
    "memo bomb": (_memo_bomb, "holds a dict and no weights by name"),
    "bytearray bomb": (_bytearray_bomb, "names builtins.bytearray"),
    "string bomb": (_string_bomb, "damaged"),
    "hash bomb": (_hidden_in_a_key, "damaged"),
    "compressed archive": (
        lambda path: archive(path, pickled(_claims(1, (1,), (1,))), {"0": b"1234"}, compression=zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "archive without a pickle": (lambda path: zipfile.ZipFile(path, "w").close(), "holds no weights"),
    "archive of pictures": (lambda path: _zip_of(path, "cat.jpg"), "0 records are called data.pkl"),
    "TorchScript": (lambda path: _zip_of(path, "net/data.pkl", "net/constants.pkl"), "is a TorchScript program"),
    "missing storage": (lambda path: archive(path, pickled(_claims(1, (1,), (1,))), {}), "storage 0 is missing"),
    "no stop": (lambda path: archive(path, b"\x80\x02}", {}), "damaged"),
    "empty stack": (lambda path: archive(path, b"\x80\x02.", {}), "damaged"),
    "unknown operation": (lambda path: archive(path, pickle.dumps({"a": 1}, protocol=4), {}), "damaged"),
    "text": (lambda path: path.write_text("these are no weights, but words and words"), "holds no weights"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "safetensors of a huge header": (lambda path: safetensors(path, "{}", length=2**40), "safetensors"),
    "safetensors of huge tensors": (
        lambda path: safetensors(
            path, f'{{"a":{{"dtype":"F32","shape":[{HUGE}],"data_offsets":[0,{4 * HUGE}]}}}}', b"1234"
        ),
        "safetensors",
    ),
    "safetensors of no tensor": (lambda path: safetensors(path, "{}"), "holds no tensor"),
    "safetensors of another kind": (
        lambda path: safetensors(path, '{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "a is of kind F8_E4M3",
    ),
    "sparse": (lambda path: torch.save({"a": torch.eye(3).to_sparse()}, path), "holds a sparse tensor"),
    "quantized": (  # torch warns of making one: its name as torch.save wrote it
        lambda path: archive(path, b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_qtensor\ns.", {}),
        "holds a quantized tensor",
    ),
    "meta": (lambda path: torch.save({"a": torch.ones(3, device="meta")}, path), "holds a meta tensor"),
    "complex": (lambda path: torch.save({"a": torch.ones(3, dtype=torch.complex64)}, path), "holds a complex tensor"),
    "array of objects": (
        lambda path: torch.save({"a": np.array([{}], dtype=object)}, path),
        "which is no part of weights",
    ),
    "settings of a script": (
        lambda path: torch.save({"state_dict": small_state(), "args": argparse.Namespace(lr=1)}, path),
        "names argparse.Namespace, which is no part of weights",
    ),
    "whole network": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "which is no part of weights"),
    "one tensor": (lambda path: torch.save(torch.ones(3), path), "holds a tensor and no weights by name"),
    "list": (lambda path: torch.save([torch.ones(3)], path), "holds a list and no weights by name"),
    "numbers by name": (
        lambda path: torch.save({"a": torch.ones(3), "b": 1.5, "c": [2]}, path),
        r"holds more than tensors: b \(a float\), c \(a list\)",
    ),
}


def _zip_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"")


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_file_of_weights_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    write, message = HOSTILE[name]
    path = tmp_path / ("weights.safetensors" if name.startswith("safetensors") else "weights.pth")
    write(path)
    with pytest.raises(BundleError, match=message) as caught:
        open_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 600


@pytest.mark.parametrize("name", ["archive.pth", "legacy.pth"])
@pytest.mark.parametrize(
    "found",
    [
        {"a": torch.ones(1).expand(3)},
        {**small_state(), "bn.running_mean": torch.ones(4, dtype=torch.float64)},
        {**small_state(), "bn.running_mean": torch.ones(1).expand(5)},
        {**small_state(), "bn.running_mean": None},
        None,
    ],
)
def test_tensors_that_are_not_as_declared_are_refused(
    found: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WHOLE[name](tmp_path / name)
    file = open_weights(tmp_path / name)
    monkeypatch.setattr(torch, "load", lambda *_, **__: found)
    with pytest.raises(BundleError, match="is damaged: "):
        file.load()


@pytest.mark.parametrize("error", [TypeError("set_() takes 1"), AttributeError("no set_")])
def test_whatever_torch_raises_of_a_file_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WHOLE["archive.pth"](tmp_path / "w.pth")
    file = open_weights(tmp_path / "w.pth")

    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(BundleError, match="is damaged: "):
        file.load()


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    WHOLE[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in {*range(0, len(whole), 61), len(whole) - 1}:
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(BundleError):
            open_weights(tmp_path / name).load()


@pytest.mark.parametrize("name", ["archive.pth", "legacy.pth", "weights.safetensors"])
def test_a_file_with_wrong_bytes_is_refused_or_gives_tensors_of_the_declared_shapes(name: str, tmp_path: Path) -> None:
    WHOLE[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoiled = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            spoiled[place] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(spoiled)
        try:
            file = open_weights(tmp_path / name)
            tensors = file.load()
        except SightlineError as error:
            assert "\n" not in str(error)
        else:
            assert {k: (tuple(v.shape), v.dtype) for k, v in tensors.items()} == dict(file.declared)


def test_what_is_no_file_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(ConfigError, match="cannot read the weights"):
            open_weights(path)
