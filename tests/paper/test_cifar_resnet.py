"""ResNets for CIFAR against Sec. 4.2 of their paper, and the plain networks against them."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.nn.drop import StochasticDepth

from .costs import multiplications, parameters
from .rule import fill_network, make_images

DEPTHS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18, "resnet1202": 200}  # 6n + 2
PLAIN = ["plain20", "plain32", "plain44", "plain56", "plain110"]


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "count", "macs", "table_6"),
    [  # exact: option A, akamaster/pytorch_resnet_cifar10, convolutions and dense layers only; Table 6 in millions
        ("resnet20", 269_722, 40_551_040, "0.27"),
        ("resnet32", 464_154, 68_862_592, "0.46"),
        ("resnet44", 658_586, 97_174_144, "0.66"),
        ("resnet56", 853_018, 125_485_696, "0.85"),
        ("resnet110", 1_727_962, 252_887_680, "1.7"),
        ("resnet1202", 19_421_274, 2_829_238_912, "19.4"),
    ],
)
def test_costs_of_table_6(name: str, count: int, macs: int, table_6: str) -> None:
    net = outline(name)
    assert parameters(net) == count and multiplications(net, (3, 32, 32)) == macs
    assert f"{count / 1e6:.{len(table_6.split('.')[1])}f}" == table_6
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == int(name.removeprefix("resnet"))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_cost_what_their_twins_do(name: str) -> None:
    """Shortcuts of option A have no parameters, so names and shapes are the same too."""
    plain, residual = outline(name), outline(name.replace("plain", "resnet"))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in residual.state_dict().items()}
    assert parameters(plain) == parameters(residual)
    assert multiplications(plain, (3, 32, 32)) == multiplications(residual, (3, 32, 32))


@pytest.mark.parametrize("name", [*DEPTHS, *PLAIN])
def test_shapes_of_section_4_2(name: str) -> None:
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 32, 32, device="meta"))
    shapes = {stage: tuple(output.shape) for stage, output in endpoints.items()}
    maps = {"stem": (1, 16, 32, 32), "layer1": (1, 16, 32, 32), "layer2": (1, 32, 16, 16), "layer3": (1, 64, 8, 8)}
    assert shapes == {**maps, "head": (1, 10)}


@torch.no_grad()
@pytest.mark.parametrize(("name", "shortcuts"), [("resnet20", 1), ("plain20", 0), ("resnet56", 1)])
def test_a_network_is_what_its_equations_say(name: str, shortcuts: int) -> None:
    """y = F(x) + h(x) with h the identity, every other place and zeros for new channels (option A)."""
    net = zoo.build(name).double().eval()
    fill_network(net, 0.9)
    s, images = net.state_dict(), make_images(2, 3, 32, 32).double()
    x = F.relu(norm(F.conv2d(images, s["conv1.weight"], padding=1), s, "bn1"))
    for layer, channels in ((1, 16), (2, 32), (3, 64)):
        for unit in range(DEPTHS[name.replace("plain", "resnet")]):
            key, stride = f"layer{layer}.{unit}", 2 if layer > 1 and unit == 0 else 1
            shortcut = x
            if stride == 2:
                shortcut = x.new_zeros(len(x), channels, x.shape[2] // 2, x.shape[3] // 2)
                shortcut[:, channels // 4 : -channels // 4] = x[:, :, ::2, ::2]
            x = F.relu(norm(F.conv2d(x, s[f"{key}.conv1.weight"], stride=stride, padding=1), s, f"{key}.bn1"))
            x = F.relu(norm(F.conv2d(x, s[f"{key}.conv2.weight"], padding=1), s, f"{key}.bn2") + shortcuts * shortcut)
    expected = x.mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]
    torch.testing.assert_close(net(images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def norm(x: Tensor, s: dict[str, Tensor], key: str) -> Tensor:
    """Batch norm in evaluation, by its formula."""
    mean, variance, weight, bias = (
        s[f"{key}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


@pytest.mark.parametrize(("name", "units"), [("resnet110", 54), ("preresnet110", 54), ("wrn16_8", 6)])
def test_stochastic_depth_grows_with_depth(name: str, units: int) -> None:
    """arXiv:1603.09382, Eq. 4: p_l = 1 - l / L (1 - p_L); his networks end with p_L = 0.5."""
    dropped = [module.p for module in outline(name, drop_path=0.5).modules() if isinstance(module, StochasticDepth)]
    np.testing.assert_allclose([1 - p for p in dropped], [1 - unit / units * 0.5 for unit in range(1, units + 1)])
    assert not any(module.p for module in outline(name).modules() if isinstance(module, StochasticDepth))
