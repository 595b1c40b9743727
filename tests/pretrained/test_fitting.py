"""Weights on a network: name by name, a new head where the classes differ, refused where anything else does."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import BundleError
from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.pretrained.checkpoint import Declared
from sightline.pretrained.fitting import fill, fit, in_our_names, num_classes_of
from sightline.pretrained.reading import WeightsFile, open_weights

State = dict[str, Tensor]


def saved(state: Mapping[str, Tensor], folder: Path) -> Path:
    torch.save(dict(state), folder / "weights.pth")
    return folder / "weights.pth"


def built(name: str, seed: int, **options: object) -> Classifier:
    """A network of which every entry has values of its own, the counters of its norms as well."""
    with torch.device("meta"):
        net = zoo.build(name, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.to_empty(device="cpu").state_dict().values():
            is_count = not tensor.is_floating_point()
            tensor.copy_(torch.tensor(seed) if is_count else torch.rand(tensor.shape, generator=generator) + 0.5)
    return net


def loaded(net: Classifier, path: Path, *, by_order: bool = False) -> tuple[str, ...]:
    """Fills a network and returns what was said."""
    file = in_our_names(open_weights(path), net, by_order=by_order)
    plan = fit(net, file)
    fill(net, plan, file)
    return plan.notes


def differing(net: Classifier, state: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in net.state_dict().items() if name in state and not torch.equal(value, state[name])]


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "resnetv2_18", "squeezenet1_1", "densenet40_k12"])
def test_weights_of_the_same_network_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    theirs = built(name, 1).state_dict()
    net = built(name, 2)
    assert len(differing(net, theirs)) == len(theirs)
    assert loaded(net, saved(theirs, tmp_path)) == ()
    assert differing(net, theirs) == []


@pytest.mark.parametrize(("name", "head"), [("resnet20", "fc"), ("squeezenet1_1", "classifier.1")])
def test_the_head_is_new_where_the_number_of_classes_differs(name: str, head: str, tmp_path: Path) -> None:
    theirs = built(name, 1, num_classes=10).state_dict()
    net = built(name, 2, num_classes=3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert loaded(net, saved(theirs, tmp_path)) == (f"new, untrained: {head}; the weights have 10 classes, here are 3",)
    assert sorted(differing(net, theirs)) == sorted(n for n in theirs if n.startswith(f"{head}."))
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before if name.startswith(f"{head}."))


def test_weights_without_a_head_leave_it_new(tmp_path: Path) -> None:
    theirs = {name: value for name, value in built("resnet20", 1).state_dict().items() if not name.startswith("fc.")}
    net = built("resnet20", 2, num_classes=3)
    file = open_weights(saved(theirs, tmp_path))
    assert num_classes_of(file, net) is None
    assert loaded(net, file.path) == ("new, untrained: fc; the weights have no head, here are 3",)


def test_half_a_head_is_a_mistake(tmp_path: Path) -> None:
    theirs = built("resnet20", 1).state_dict()
    del theirs["fc.bias"]
    with pytest.raises(BundleError, match=r"does not fit resnet20: missing: fc.bias\. Choose the network"):
        loaded(built("resnet20", 2), saved(theirs, tmp_path))


def test_counters_of_norms_may_be_missing(tmp_path: Path) -> None:
    theirs = {n: v for n, v in built("resnet20", 1).state_dict().items() if not n.endswith("num_batches_tracked")}
    net = built("resnet20", 2)
    loaded(net, saved(theirs, tmp_path))
    assert differing(net, theirs) == []
    assert int(net.state_dict()["bn1.num_batches_tracked"]) == 2


def _renamed(state: State) -> State:
    return {name.replace("layer1.0", "layer9.0"): value for name, value in state.items()}


def _reshaped(state: State) -> State:
    return {**state, "conv1.weight": torch.zeros(16, 3, 5, 5)}


def _whole_numbers(state: State) -> State:
    return {**state, "conv1.weight": torch.zeros(16, 3, 3, 3, dtype=torch.int8)}


MISMATCHES: dict[str, tuple[Callable[[State], State], str]] = {
    "missing and extra names": (
        _renamed,
        r"missing: layer1.0.conv1.weight, .* and 7 more; unexpected: layer9.0.conv1.weight, .* and 9 more\. Choose",
    ),
    "an extra name": (lambda state: {**state, "attention": torch.ones(2)}, r"resnet20: unexpected: attention\. "),
    "another shape": (_reshaped, r"different: conv1.weight \(\(16, 3, 5, 5\), needs \(16, 3, 3, 3\)\)\. "),
    "whole numbers": (_whole_numbers, r"conv1.weight \(int8, needs numbers with a fraction"),
    "not a number": (lambda state: {**state, "bn1.bias": state["bn1.bias"] * torch.nan}, "bn1.bias holds NaN"),
    "infinity": (lambda state: {**state, "bn1.bias": state["bn1.bias"] / 0}, "bn1.bias holds NaN or infinity"),
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_every_other_difference_is_named_and_refused(what: str, tmp_path: Path) -> None:
    spoil, message = MISMATCHES[what]
    path = saved(spoil(built("resnet20", 1).state_dict()), tmp_path)
    with pytest.raises(BundleError, match=message) as caught:
        loaded(built("resnet20", 2), path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_precision_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = {n: v.to(dtype) if v.is_floating_point() else v for n, v in built("resnet20", 1).state_dict().items()}
    net = built("resnet20", 2)
    assert loaded(net, saved(theirs, tmp_path)) == (f"{str(dtype).removeprefix('torch.')} converted to float32",)
    for name, value in net.state_dict().items():
        assert value.dtype == (torch.float32 if theirs[name].is_floating_point() else torch.int64)
        assert torch.equal(value, theirs[name].to(value.dtype))


def test_kernels_for_colours_are_summed_for_grey_pictures(tmp_path: Path) -> None:
    theirs = built("resnet20", 1).state_dict()
    net = built("resnet20", 2, in_channels=1)
    notes = loaded(net, saved(theirs, tmp_path))
    assert notes == ("conv1.weight summed over its three colours: the network takes grey pictures",)
    kernels = theirs["conv1.weight"].numpy().astype(np.float64)
    summed = net.state_dict()["conv1.weight"].numpy()
    np.testing.assert_allclose(summed[:, 0], kernels[:, 0] + kernels[:, 1] + kernels[:, 2], rtol=1e-6)
    grey = torch.rand(2, 1, 8, 8)  # a grey picture in three equal colours has the same answer
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), theirs["conv1.weight"], padding=1)
    torch.testing.assert_close(net.conv1(grey), expected)
    rest = {name: value for name, value in theirs.items() if name != "conv1.weight"}
    assert differing(net, rest) == []


def test_grey_weights_do_not_become_coloured(tmp_path: Path) -> None:
    path = saved(built("resnet20", 1, in_channels=1).state_dict(), tmp_path)
    with pytest.raises(BundleError, match=r"conv1.weight \(\(16, 1, 3, 3\), needs \(16, 3, 3, 3\)"):
        loaded(built("resnet20", 2), path)


# --------------------------------------------------------------------------------------------------- auxiliary heads


def _googlenet(seed: int, *, num_classes: int = 4, aux_heads: bool) -> Classifier:
    return built("googlenet", seed, num_classes=num_classes, aux_heads=aux_heads)


def test_auxiliary_heads_that_the_network_lacks_are_left_out(tmp_path: Path) -> None:
    theirs = _googlenet(1, aux_heads=True).state_dict()
    net = _googlenet(2, aux_heads=False)
    assert loaded(net, saved(theirs, tmp_path)) == (
        "left out: aux1, aux2 of the weights, which the network was built without",
    )
    assert differing(net, theirs) == []


def test_auxiliary_heads_that_the_weights_lack_are_new(tmp_path: Path) -> None:
    theirs = _googlenet(1, aux_heads=False).state_dict()
    net = _googlenet(2, aux_heads=True)
    (note,) = loaded(net, saved(theirs, tmp_path))
    assert note.startswith("new, untrained: aux1.")
    assert differing(net, theirs) == []


def test_auxiliary_heads_of_other_classes_keep_all_but_their_last_layer(tmp_path: Path) -> None:
    theirs = _googlenet(1, num_classes=6, aux_heads=True).state_dict()
    net = _googlenet(2, aux_heads=True)
    assert loaded(net, saved(theirs, tmp_path)) == (
        "new, untrained: aux1.fc2, aux2.fc2, fc; the weights have 6 classes, here are 4",
    )
    assert {name.rpartition(".")[0] for name in differing(net, theirs)} == {"fc", "aux1.fc2", "aux2.fc2"}


# ------------------------------------------------------------------------------------------------------- other names


def test_names_of_another_library_are_translated_by_order_where_the_source_says_so(tmp_path: Path) -> None:
    theirs = built("resnet20", 1).state_dict()
    path = saved({f"_part{number}": value for number, value in enumerate(theirs.values())}, tmp_path)
    net = built("resnet20", 2)
    with pytest.raises(BundleError, match=r"missing: conv1.weight, "):
        loaded(net, path)
    assert loaded(net, path, by_order=True) == ("names translated by the tensors' order",)
    assert differing(net, theirs) == []


def test_by_order_another_number_or_shape_is_refused(tmp_path: Path) -> None:
    values = list(built("resnet20", 1).state_dict().values())
    with pytest.raises(BundleError, match=r"holds \d+ tensors, resnet20 has \d+: they cannot be told apart"):
        loaded(
            built("resnet20", 2),
            saved(dict(zip(map(str, range(999)), values[1:], strict=False)), tmp_path),
            by_order=True,
        )
    values[0], values[6] = values[6], values[0]
    with pytest.raises(BundleError, match=r"conv1.weight \(\(16, 16, 3, 3\), needs \(16, 3, 3, 3\)"):
        loaded(
            built("resnet20", 2), saved(dict(zip(map(str, range(999)), values, strict=False)), tmp_path), by_order=True
        )


def test_names_of_torchvisions_first_densenets_are_translated(tmp_path: Path) -> None:
    def old(name: str) -> str:
        """densenet121-a639ec97.pth says norm.1 and conv.1 inside its dense layers."""
        inside = "denselayer" in name
        return (
            name.replace(".norm1.", ".norm.1.")
            .replace(".norm2.", ".norm.2.")
            .replace(".conv1.", ".conv.1.")
            .replace(".conv2.", ".conv.2.")
            if inside
            else name
        )

    theirs = built("densenet100_k12_bc", 1).state_dict()
    file = saved({old(name): value for name, value in theirs.items()}, tmp_path)
    assert sum(old(name) != name for name in theirs) == 48 * 12
    net = built("densenet100_k12_bc", 2)
    assert loaded(net, file) == ("names of torchvision's first densenets translated",)
    assert differing(net, theirs) == []


# ----------------------------------------------------------------------------------------------------- the whole zoo


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_takes_its_own_weights_and_a_new_head(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs, other = zoo.build(name), zoo.build(name, num_classes=zoo.ZOO[name].num_classes + 1)
    declared = {entry: Declared(tuple(value.shape), value.dtype) for entry, value in theirs.state_dict().items()}
    file = WeightsFile(tmp_path, declared, (), dict)
    own = fit(theirs, file)
    assert (len(own.names), own.replaced, own.summed) == (len(declared), (), "")
    assert num_classes_of(file, theirs) == theirs.num_classes
    (head,) = fit(other, file).replaced
    assert other.get_submodule(head) is other.classifier_head
