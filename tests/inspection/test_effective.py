"""The measured field: its edge is the exact field's, and it is largest in the middle."""

import pytest
import torch
from torch import Tensor, nn

from sightline.errors import ConfigError, ShapeError
from sightline.inspection import EffectiveField, effective_receptive_field, receptive_field
from sightline.models import zoo
from sightline.nn.arithmetic import ReceptiveField

from .nets import Function, Staged, chain, conv, positive


def within(field: ReceptiveField, unit: int, side: int) -> tuple[int, int]:
    first, end = field.region(unit)
    return max(first, 0), min(end, side - 1)


NETS = {
    "join": Function(lambda net, x: net.a(x) + net.b(x), a=conv(5, 2, 2), b=chain(conv(3, 2, 1), conv(3, 1, 1))),
    "dilation": chain(conv(3, 1, 2, 2), conv(3, 2, 1), nn.ReLU(), conv(3, 1, 4, 4)),
    "concatenation": Function(
        lambda net, x: net.c(torch.cat([net.a(x), net.b(x)], 1)),
        a=conv(7, 1, 3),
        b=conv(3, 1, 1),
        c=nn.Conv2d(2, 1, 3, 2, 1),
    ),
    "max pools": chain(conv(3, 1, 1), nn.MaxPool2d(3, 2, 1), conv(3), nn.MaxPool2d(2)),
    "slices": Function(lambda net, x: net.b(net.a(x)[:, :, ::2, ::2]), a=conv(3, 1, 1), b=conv(3)),
}


@pytest.mark.parametrize("name", NETS)
def test_its_edge_is_the_exact_fields(name: str) -> None:
    """With positive weights nothing cancels; enough pictures make every value of a max pool the largest once."""
    net, side = positive(chain(NETS[name])).double(), 24
    field = receptive_field(net, (1, side, side))["0"]
    images = torch.rand(256 if name == "max pools" else 1, 1, side, side, generator=torch.Generator().manual_seed(0))
    size = effective_receptive_field(net, images, endpoint="0").map_size
    for unit in {(0, 0), (size[0] // 2, 1), (size[0] - 1, size[1] // 2)}:
        found = effective_receptive_field(net, images, endpoint="0", unit=unit)
        assert found.unit == unit
        assert found.region == tuple(within(field, place, side) for place in unit)


@pytest.mark.parametrize(
    ("name", "endpoint", "side"),
    [
        ("resnet20", "layer1", 40),
        ("resnet20", "layer2", 80),
        ("mobilenet_v1", "stage2", 48),
        ("simple_cnn", "block3", 40),
    ],
)
def test_networks_of_the_zoo_see_what_they_should(name: str, endpoint: str, side: int) -> None:
    """With their own random weights, in float64."""
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=10).double()
    field = receptive_field(net, (3, side, side))[endpoint]
    images = torch.randn(16, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = effective_receptive_field(net, images, endpoint=endpoint)
    assert found.region == tuple(within(field, place, side) for place in found.unit)
    assert found.region[0][0] > 0 and found.region[0][1] < side - 1  # the picture cuts nothing off
    assert 1 < found.size_px < field.size_px


def test_the_influence_is_the_kernel_itself_for_one_layer() -> None:
    net = nn.Conv2d(2, 1, 3, bias=False)
    found = effective_receptive_field(chain(net), (2, 5, 5), endpoint="0", unit=(1, 0))
    expected = torch.zeros(5, 5)
    expected[1:4, 0:3] = net.weight[0].detach().abs().sum(0)
    torch.testing.assert_close(found.influence, expected)
    assert (found.unit, found.map_size, found.region) == ((1, 0), (3, 3), ((1, 3), (0, 2)))


def test_it_falls_off_from_the_middle_like_a_bell() -> None:
    """Luo et al. 2016, Sec. 2: of n equal layers of 3 the influence is the n-fold convolution, a bell of deviation
    sqrt(2 n / 3), so that what matters grows with the root of the depth and the field with the depth."""
    sizes = {}
    for depth in (4, 16):
        net = chain(*(conv(3, 1, 1, bias=False) for _ in range(depth))).double()
        for layer in net:
            nn.init.constant_(layer.weight, 1.0)
        found = effective_receptive_field(net, (1, 65, 65), endpoint=str(depth - 1))
        line = found.influence[32] / found.influence[32].sum()
        place = torch.arange(65) - 32.0
        assert float((line * place**2).sum()) == pytest.approx(2 * depth / 3)
        assert found.influence.argmax() == 32 * 65 + 32
        sizes[depth] = found.size_px
        assert found.region == ((32 - depth, 32 + depth),) * 2
    assert sizes[16] / sizes[4] == pytest.approx(2, rel=0.15)


def test_size_is_a_square_of_as_many_strong_pixels() -> None:
    influence = torch.zeros(10, 10)
    influence[2:6, 3:7] = 1.0
    influence[9, 9] = 0.04  # under 4.55 %
    found = EffectiveField((0, 0), (1, 1), influence)
    assert found.size_px == 4.0
    assert found.region == ((2, 9), (3, 9))
    assert EffectiveField((0, 0), (1, 1), torch.zeros(4, 4)).region == ((0, -1), (0, -1))


def test_the_network_is_left_as_it_was_and_gets_no_gradients() -> None:
    net = zoo.build("resnet20", num_classes=3).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        effective_receptive_field(net, (3, 16, 16), endpoint="layer1")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training and all(parameter.grad is None for parameter in net.parameters())
    assert len(net.conv1._forward_hooks) == 0


def test_stages_are_endpoints_too() -> None:
    net = positive(Staged())
    by_stage, by_layer = (effective_receptive_field(net, (3, 16, 16), endpoint=name) for name in ("body", "blocks"))
    assert torch.equal(by_stage.influence, by_layer.influence)
    assert effective_receptive_field(net, (3, 16, 16), endpoint="stem").map_size == (8, 8)


def test_what_cannot_be_measured_is_refused() -> None:
    net = Staged()
    with pytest.raises(ConfigError, match=r"^Staged has no endpoint 'boddy'\. Nearest: body"):
        effective_receptive_field(net, (3, 16, 16), endpoint="boddy")
    with pytest.raises(ShapeError, match=r"^head makes no map of \(N, C, H, W\)\. Take an endpoint before the pool\.$"):
        effective_receptive_field(net, (3, 16, 16), endpoint="head")
    message = r"^unit is \(8, 0\); the map of stem is \(8, 8\), so it may be up to \(7, 7\)\.$"
    with pytest.raises(ShapeError, match=message):
        effective_receptive_field(net, (3, 16, 16), endpoint="stem", unit=(8, 0))
    with pytest.raises(ConfigError, match=r"^Staged has no weights \(it is on the meta device\), so nothing moves its"):
        effective_receptive_field(Staged().to("meta"), (3, 16, 16), endpoint="stem")


def test_pictures_of_ones_own_count() -> None:
    """The gradient of a square depends on where it is taken."""
    net = chain(Function(lambda _, x: x**2), nn.AvgPool2d(2))

    def influence(images: Tensor) -> Tensor:
        return effective_receptive_field(net, images, endpoint="1", unit=(0, 0)).influence

    assert torch.equal(influence(torch.full((1, 1, 2, 2), 3.0)), 3 * influence(torch.ones(1, 1, 2, 2)))
    both = torch.stack([torch.ones(1, 2, 2), torch.full((1, 2, 2), 3.0)])
    assert torch.equal(influence(both), 2 * influence(torch.ones(1, 1, 2, 2)))  # the mean over pictures
