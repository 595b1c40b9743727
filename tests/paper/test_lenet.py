"""LeNet-5 of 1998 against its paper: parameters, connections, Table I, units, loss."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.lenet_1998 import LeNet1998, RadialBasis, Subsampling, squash

from .costs import parameters

TABLE_I = [  # rows: maps of S2; columns: maps of C3
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
]


def images_of(count: int, size: int = 32) -> Tensor:
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> LeNet1998:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build("lenet5_1998").eval()
    assert isinstance(net, LeNet1998)
    return net


def test_parameters_of_each_layer(net: LeNet1998) -> None:
    layers = {name: parameters(layer) for name, layer in net.named_children()}
    by_the_paper = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}  # Sec. II.B
    assert layers == {**by_the_paper, "output": 0}
    assert parameters(net) == 60_000


def test_connections_of_each_layer(net: LeNet1998) -> None:
    """Sec. II.B: every number that a unit reads, its bias among them."""
    connections = {}
    for name, output in net.endpoints(images_of(1)).items():
        layer = net.classifier_head if name == "head" else net.get_submodule(name)
        if isinstance(layer, Subsampling):
            connections[name] = output[0].numel() * (2 * 2 + 1)
        elif isinstance(layer, RadialBasis):
            connections[name] = layer.weight.numel()
        else:  # shared by every place of the map
            connections[name] = output[0, 0].numel() * parameters(layer)
    assert connections == {
        **{"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000},
        **{"c5": 48_120, "f6": 10_164, "head": 840},
    }
    assert sum(connections.values()) == 340_908


def test_shapes_of_figure_2(net: LeNet1998) -> None:
    shapes = {name: tuple(output.shape[1:]) for name, output in net.endpoints(images_of(2)).items()}
    assert shapes == {
        **{"c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5)},
        **{"c5": (120,), "f6": (84,), "head": (10,)},
    }


def test_maps_of_c3_see_the_maps_of_table_1(net: LeNet1998) -> None:
    maps = torch.randn(6, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    plain = net.c3(maps[:1])
    for row in range(6):
        changed = maps[:1].clone()
        changed[:, row] += 1
        seen = (net.c3(changed) != plain).any(dim=3).any(dim=2)[0]
        assert "".join("X" if sees else "." for sees in seen) == TABLE_I[row]


def test_c3_is_a_dense_convolution_whose_other_weights_are_zero(net: LeNet1998) -> None:
    weights = iter(itertools.chain(*(conv.weight for conv in net.c3.convs)))
    dense = torch.zeros(16, 6, 5, 5)
    for column in range(16):
        rows = [row for row in range(6) if TABLE_I[row][column] == "X"]
        dense[column, rows] = next(weights)
    bias = torch.cat([conv.bias for conv in net.c3.convs])
    maps = torch.randn(2, 6, 14, 14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.c3(maps), nn.functional.conv2d(maps, dense, bias), atol=1e-6, rtol=1e-5)


def test_subsampling_is_a_sum_times_a_coefficient_plus_a_bias() -> None:
    layer = Subsampling(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -2.0]))
        layer.bias.copy_(torch.tensor([1.0, 3.0]))
    maps = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(1, 2, 1, 1)
    sums = np.array([[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]])
    np.testing.assert_allclose(layer(maps).detach().numpy()[0], [0.5 * sums + 1, -2 * sums + 3])


def test_the_squashing_function_is_that_of_appendix_a() -> None:
    numbers = np.linspace(-4, 4, 81)
    expected = [1.7159 * math.tanh(2 / 3 * number) for number in numbers]
    np.testing.assert_allclose(squash(torch.from_numpy(numbers)).numpy(), expected, atol=1e-12)
    assert squash(torch.tensor([1.0, -1.0])).tolist() == pytest.approx([1, -1], abs=1e-4)  # f(1) = 1, f(-1) = -1


@torch.no_grad()
def test_every_layer_up_to_f6_is_squashed(net: LeNet1998) -> None:
    x = 10 * images_of(4)
    for name, output in list(net.endpoints(x).items())[:-1]:
        weighted_sums = net.get_submodule(name)(x).double().numpy()
        expected = 1.7159 * np.tanh(2 / 3 * weighted_sums)
        np.testing.assert_allclose(output.numpy(), expected.reshape(output.shape), atol=1e-6, err_msg=name)
        assert np.abs(weighted_sums - expected).max() > 1e-3
        x = output


@torch.no_grad()
def test_the_outputs_are_minus_the_distances_of_equation_7(net: LeNet1998) -> None:
    endpoints = net.endpoints(images_of(3))
    features, codes = endpoints["f6"].numpy(), net.output.weight.numpy()
    distances = ((features[:, None].astype(float) - codes[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(endpoints["head"].numpy(), -distances, rtol=1e-5)


def test_cross_entropy_is_the_loss_of_equation_9(net: LeNet1998) -> None:
    """E = y_D + log(e^-j + sum_i e^-y_i), j large: y the distances, D the right class."""
    logits, labels = net(images_of(5)).double(), torch.tensor([3, 1, 4, 1, 5])
    distances = (-logits).detach().numpy()
    shift, j = distances.min(axis=1), 1000.0
    sums = np.exp(-j + shift) + np.exp(shift[:, None] - distances).sum(axis=1)
    by_the_paper = distances[range(5), labels] + np.log(sums) - shift
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(by_the_paper.mean(), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 62, 84])
def test_codes_are_of_plus_and_minus_one_and_differ_in_half_of_their_places(classes: int) -> None:
    codes = zoo.build("lenet5_1998", num_classes=classes).classifier_head.weight.numpy()
    assert codes.shape == (classes, 84) and set(np.unique(codes)) == {-1, 1}
    differing = (codes[:, None] != codes[None]).sum(axis=2)
    assert (differing == 42 * (1 - np.eye(classes))).all()


def test_codes_of_more_classes_than_places_are_still_far_apart() -> None:
    codes = zoo.build("lenet5_1998", num_classes=1000).classifier_head.weight.numpy()
    differing = (codes[:, None] != codes[None]).sum(axis=2) + 84 * np.eye(1000)
    assert differing.min() >= 21  # a quarter of the places
    ten = zoo.build("lenet5_1998", num_classes=10).classifier_head.weight.numpy()
    assert (codes[:10] == ten).all()


def test_codes_are_saved_and_never_trained(net: LeNet1998) -> None:
    assert "output.weight" in net.state_dict()
    assert "output.weight" not in dict(net.named_parameters())


def test_first_weights_are_uniform_by_the_number_of_inputs(net: LeNet1998) -> None:
    """Appendix A: between -2.4 / F and 2.4 / F."""
    inputs = {"c1": 25, "s2": 4, "c3.convs.0": 75, "c3.convs.1": 100, "c3.convs.2": 150, "s4": 4, "c5": 400, "f6": 120}
    for name, parameter in net.named_parameters():
        bound = 2.4 / inputs[name.rpartition(".")[0]]
        assert parameter.abs().max() <= bound
        if len(parameter.flatten()) >= 400:
            assert parameter.abs().max() > 0.98 * bound
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
            assert parameter.mean().item() == pytest.approx(0, abs=0.1 * bound)


def test_digits_of_mnist_are_padded_to_the_papers_size(net: LeNet1998) -> None:
    padded = zoo.build("lenet5_1998", image_size=(28, 28)).eval()
    padded.load_state_dict(net.state_dict())
    digits = images_of(3, size=28)
    torch.testing.assert_close(padded(digits), net(nn.functional.pad(digits, (2, 2, 2, 2))))


def test_a_size_at_which_nothing_would_be_left_is_refused() -> None:
    message = "LeNet1998 needs images of at least 28x28 px, got 27x40 px. Enlarge --img-size."
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        zoo.build("lenet5_1998", image_size=(27, 40))
