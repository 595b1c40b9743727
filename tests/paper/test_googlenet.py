"""GoogLeNet against Table 1 and Sec. 5 of its paper, in both forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.models import zoo
from sightline.models.googlenet import GoogLeNet
from sightline.nn.inception import AuxiliaryPool

from .costs import multiplications, parameters

BOTH = ["googlenet", "googlenet_2014"]
TABLE_1 = {  # in_channels, map, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
    "3a": (192, 28, 64, 96, 128, 16, 32, 32),
    "3b": (256, 28, 128, 128, 192, 32, 96, 64),
    "4a": (480, 14, 192, 96, 208, 16, 48, 64),
    "4b": (512, 14, 160, 112, 224, 24, 64, 64),
    "4c": (512, 14, 128, 128, 256, 24, 64, 64),
    "4d": (512, 14, 112, 144, 288, 32, 64, 64),
    "4e": (528, 14, 256, 160, 320, 32, 128, 128),
    "5a": (832, 7, 256, 160, 320, 32, 128, 128),
    "5b": (832, 7, 384, 192, 384, 48, 128, 128),
}
OUTPUTS = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}


def outline(name: str, **options: object) -> GoogLeNet:
    """Without weights."""
    with torch.device("meta"):
        net = zoo.build(name, **options).eval()  # type: ignore[arg-type]
    assert isinstance(net, GoogLeNet)
    return net


def weights_of(unit: str, large: int) -> int:
    before, _, n1, r3, n3, r5, n5, pool = TABLE_1[unit]
    return before * (n1 + r3 + r5 + pool) + 9 * r3 * n3 + large**2 * r5 * n5


def test_parameters_of_each_block_of_the_paper() -> None:
    net = outline("googlenet_2014")
    units = {f"inception{unit}": weights_of(unit, 5) + sum(TABLE_1[unit][2:]) for unit in TABLE_1}
    blocks = {name: parameters(block) for name, block in net.named_children()}
    assert {name: count for name, count in blocks.items() if count} == {
        "conv1": 64 * (3 * 49 + 1),
        "conv2": 64 * (64 + 1),
        "conv3": 192 * (64 * 9 + 1),
        **units,
        "fc": 1000 * (1024 + 1),
    }
    assert list(units.values()) == [163_696, 388_736, 376_176, 449_160, 510_104, 605_376, 868_352, 1_043_456, 1_444_080]
    assert parameters(net) == 6_998_552  # as onnx's light_inception_v1


def test_parameters_of_each_block_of_torchvision() -> None:
    """No biases, two numbers a channel of the norms, and 3x3 for 5x5."""
    net = outline("googlenet")
    for unit in TABLE_1:
        norms = 2 * sum(TABLE_1[unit][2:])
        assert parameters(net.get_submodule(f"inception{unit}")) == weights_of(unit, 3) + norms
    assert parameters(net) == 6_624_904


@pytest.mark.parametrize(("name", "expected"), [("googlenet", 13_004_888), ("googlenet_2014", 13_378_280)])
def test_parameters_with_auxiliary_heads(name: str, expected: int) -> None:
    net = outline(name, aux_heads=True)
    assert parameters(net) == expected
    after_conv = 2 * 128 if name == "googlenet" else 128
    for head, channels in ((net.aux1, 512), (net.aux2, 528)):
        assert head is not None
        assert parameters(head) == channels * 128 + after_conv + 1024 * (128 * 4 * 4 + 1) + 1000 * (1024 + 1)


@pytest.mark.parametrize(("name", "large"), [("googlenet", 3), ("googlenet_2014", 5)])
def test_multiplications_of_the_papers_maps(name: str, large: int) -> None:
    macs = 112**2 * 64 * 3 * 49 + 56**2 * (64 * 64 + 192 * 64 * 9) + 1024 * 1000
    macs += sum(TABLE_1[unit][1] ** 2 * weights_of(unit, large) for unit in TABLE_1)
    assert multiplications(outline(name), (3, 224, 224)) == macs
    assert macs == (1_498_376_192 if name == "googlenet" else 1_582_671_872)  # the first is torchvision's


def test_multiplications_of_table_1() -> None:
    """The column "ops", in millions and rounded freely: 1,502 in all, of which no row is off by more than a twelfth.

    Its row of the 7x7 convolution, 34M, is left out: 112x112 places times 9,408 weights are 118M.
    """
    ops = {"3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119, "4e": 170, "5a": 54, "5b": 71}
    for unit, millions in ops.items():
        assert TABLE_1[unit][1] ** 2 * weights_of(unit, 5) / 1e6 == pytest.approx(millions, rel=1 / 12)


def test_multiplications_of_the_graph_whose_pools_drop_the_rest() -> None:
    """onnx's light_inception_v1 has maps of 55, 27, 13 and 6 px."""
    net = outline("googlenet_2014")
    for module in net.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False
    assert multiplications(net, (3, 224, 224)) == 1_431_556_352


@pytest.mark.parametrize("name", BOTH)
def test_shapes_of_table_1(name: str) -> None:
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
    assert {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()} == {
        "conv1": (64, 112, 112),
        "conv3": (192, 56, 56),
        **{f"inception{unit}": (OUTPUTS[unit], row[1], row[1]) for unit, row in TABLE_1.items()},
        "head": (1000,),
    }


@pytest.mark.parametrize("name", BOTH)
def test_22_layers_deep(name: str) -> None:
    """Sec. 5: layers with parameters on the longest way; units are two deep."""
    net = outline(name)
    units = [module for key, module in net.named_children() if key.startswith("inception")]
    assert len(units) == 9
    plain = [key for key, module in net.named_children() if key in ("conv1", "conv2", "conv3", "fc") and module]
    assert len(plain) + 2 * len(units) == 22


@pytest.mark.parametrize(("name", "large"), [("googlenet", 3), ("googlenet_2014", 5)])
def test_kernels_of_the_third_branch(name: str, large: int) -> None:
    net = outline(name)
    for unit in TABLE_1:
        branch = net.get_submodule(f"inception{unit}.branch3")
        assert [part.conv.kernel_size for part in branch] == [(1, 1), (large, large)]


def test_response_normalisation_stands_where_figure_3_has_it() -> None:
    """pool, norm, conv 1x1, conv 3x3, norm, pool; nowhere else."""
    net = outline("googlenet_2014")
    order: list[str] = []
    parts = ("conv1", "maxpool1", "norm1", "conv2", "conv3", "norm2", "maxpool2", "inception3a")
    for part in parts:
        net.get_submodule(part).register_forward_hook(lambda *_, name=part: order.append(name))
    net(torch.zeros(1, 3, 224, 224, device="meta"))
    assert tuple(order) == parts
    norms = [key for key, module in net.named_modules() if isinstance(module, nn.LocalResponseNorm)]
    assert norms == ["norm1", "norm2"]
    assert not [module for module in outline("googlenet").modules() if isinstance(module, nn.LocalResponseNorm)]


def test_norms_of_torchvision_and_of_the_paper() -> None:
    norms = [module for module in outline("googlenet").modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3 + 9 * 6 and {norm.eps for norm in norms} == {1e-3}
    paper = outline("googlenet_2014")
    assert not [module for module in paper.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(module.bias is not None for module in paper.modules() if isinstance(module, nn.Conv2d))


def test_dropout() -> None:
    assert outline("googlenet_2014").dropout.p == 0.4  # Table 1
    assert outline("googlenet").dropout.p == 0.2  # torchvision
    net = outline("googlenet_2014", dropout=0.1, aux_heads=True)
    assert net.dropout.p == 0.1
    assert [head.dropout.p for head in (net.aux1, net.aux2) if head is not None] == [0.7, 0.7]  # Sec. 5


def test_auxiliary_heads_count_for_0_3() -> None:
    assert all(outline(name).auxiliary_weight == 0.3 for name in BOTH)  # Sec. 5


@torch.no_grad()
def test_an_auxiliary_head_is_pool_convolution_and_two_dense_layers() -> None:
    torch.manual_seed(0)
    net = zoo.build("googlenet_2014", num_classes=4, aux_heads=True).eval()
    images = torch.randn(2, 3, 224, 224)
    maps = net.endpoints(images)
    _, auxiliary = net.forward_with_auxiliary(images)
    for head, x, logits in zip(
        (net.aux1, net.aux2), (maps["inception4a"], maps["inception4d"]), auxiliary, strict=True
    ):
        assert x.shape[2:] == (14, 14)
        windows = x.double().numpy()
        starts = range(0, 12, 3)
        pooled = np.array([[windows[:, :, y : y + 5, i : i + 5].mean(axis=(2, 3)) for i in starts] for y in starts])
        assert pooled.shape[:2] == (4, 4)
        weights = {key: value.double().numpy() for key, value in head.state_dict().items()}
        narrow = np.einsum("yxnc,kc->nkyx", pooled, weights["conv.conv.weight"][:, :, 0, 0])
        narrow = (narrow + weights["conv.conv.bias"][:, None, None]).clip(0).reshape(2, -1)
        hidden = (narrow @ weights["fc1.weight"].T + weights["fc1.bias"]).clip(0)
        expected = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
        np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(14, 14), (16, 15), (8, 8), (3, 5), (20, 33)])
def test_the_auxiliary_pool_gives_4x4_px_of_any_map(size: tuple[int, int]) -> None:
    maps = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    assert AuxiliaryPool()(maps).shape == (1, 2, 4, 4)


@torch.no_grad()
@pytest.mark.parametrize("name", BOTH)
def test_auxiliary_heads_work_on_small_pictures_and_in_evaluation(name: str) -> None:
    torch.manual_seed(0)
    net = zoo.build(name, num_classes=3, aux_heads=True, image_size=(32, 32)).eval()
    images = torch.randn(2, 3, 32, 32)
    logits, auxiliary = net.forward_with_auxiliary(images)
    assert torch.equal(logits, net(images)) and [tuple(each.shape) for each in auxiliary] == [(2, 3), (2, 3)]


@pytest.mark.parametrize("name", BOTH)
def test_the_small_stem_keeps_an_eighth(name: str) -> None:
    net = outline(name, stem="small")
    endpoints = net.endpoints(torch.zeros(1, 3, 64, 64, device="meta"))
    sizes = [output.shape[2] for output in endpoints.values() if output.dim() == 4]
    assert sizes == [64, 64, 32, 32, 16, 16, 16, 16, 16, 8, 8]


@pytest.mark.parametrize(
    ("name", "stem", "least"),
    [
        ("googlenet", "imagenet", 15),
        ("googlenet", "small", 4),
        ("googlenet_2014", "imagenet", 31),
        ("googlenet_2014", "small", 8),
    ],
)
def test_the_minimum_is_no_larger_than_it_has_to_be(name: str, stem: str, least: int) -> None:
    """15 is torchvision's own."""
    net = outline(name, stem=stem)
    assert net.min_size == (least, least)
    x = torch.zeros(1, 3, least - 1, least - 1, device="meta")
    with pytest.raises(RuntimeError, match="Output size is too small"):
        for stage in net.named_stages().values():
            x = stage(x)


@pytest.mark.parametrize("name", BOTH)
def test_first_weights(name: str) -> None:
    """torchvision's, and those of bvlc_googlenet: uniform, variance 1 / inputs, biases of 0.2."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = zoo.build(name, num_classes=100, aux_heads=True)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight: Tensor = layer.weight
            expected = 0.01 if name == "googlenet" else weight[0].numel() ** -0.5
            assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5)
            if name == "googlenet_2014":
                assert weight.abs().max() <= 3**0.5 * expected * (1 + 1e-6)
                assert torch.equal(layer.bias, torch.full_like(layer.bias, 0.2))


@torch.no_grad()
def test_branches_are_concatenated_in_the_order_of_the_table() -> None:
    torch.manual_seed(0)
    net = zoo.build("googlenet_2014", num_classes=3).eval()
    unit = net.get_submodule("inception3a")
    x = torch.randn(2, 192, 7, 7)
    parts = [getattr(unit, f"branch{i}") for i in (1, 2, 3, 4)]
    pooled = nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, stride=1)
    by_hand = [parts[0](x), parts[1][1](parts[1][0](x)), parts[2][1](parts[2][0](x)), parts[3][1](pooled)]
    assert [part.shape[1] for part in by_hand] == [64, 128, 32, 32]
    torch.testing.assert_close(unit(x), torch.cat(by_hand, dim=1))
