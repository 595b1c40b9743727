"""DenseNet against its paper: tables, the sums behind them, and the form that takes less memory."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.models import zoo
from sightline.models.base import Classifier
from sightline.models.densenet import DenseNet
from sightline.nn import dense
from sightline.nn.dense import DenseBlock, DenseBottleneck, DenseLayer, DenseUnit, Transition

from .costs import multiplications, parameters

TABLE_1 = {  # k, layers of the four dense blocks
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
    "densenet264": (32, (6, 12, 64, 48)),
}
TABLE_2 = {  # L, k, BC, and the parameters in millions
    "densenet40_k12": (40, 12, False, 1.0),
    "densenet100_k12": (100, 12, False, 7.0),
    "densenet100_k24": (100, 24, False, 27.2),
    "densenet100_k12_bc": (100, 12, True, 0.8),
    "densenet250_k24_bc": (250, 24, True, 15.3),
    "densenet190_k40_bc": (190, 40, True, 25.6),
}


def outline(name: str, **options: object) -> Classifier:
    """Without weights."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()  # type: ignore[arg-type]


def images_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sums(
    k: int, layers: tuple[int, ...], *, stem: tuple[int, int], size: int, bottleneck: bool, theta: float, classes: int
) -> tuple[int, int]:
    """Parameters and multiplications by the text of Sec. 3.

    Args:
        stem: channels of the first convolution, and its parameters with what follows it.
        size: of the maps in the first block; the multiplications of the stem are not in the sum.
    """
    channels, params = stem
    macs = 0
    for number, count in enumerate(layers):
        if number > 0:
            out = int(theta * channels)
            params += 2 * channels + channels * out
            macs += size**2 * channels * out
            channels, size = out, size // 2
        for _ in range(count):
            if bottleneck:
                weights = channels * 4 * k + 9 * 4 * k * k
                params += 2 * channels + 2 * 4 * k
            else:
                weights = 9 * channels * k
                params += 2 * channels
            params, macs, channels = params + weights, macs + size**2 * weights, channels + k
    return params + 2 * channels + (channels + 1) * classes, macs + channels * classes


@pytest.mark.parametrize("name", TABLE_1)
def test_costs_of_table_1(name: str) -> None:
    k, layers = TABLE_1[name]
    stem = 49 * 3 * 2 * k  # 7x7 over three channels
    params, macs = sums(k, layers, stem=(2 * k, stem + 2 * 2 * k), size=56, bottleneck=True, theta=0.5, classes=1000)
    net = outline(name)
    assert parameters(net) == params
    assert multiplications(net, (3, 224, 224)) == macs + 112**2 * stem
    if name == "densenet264":  # no torchvision: the count that the library lucid publishes; Fig. 3 has it at 33 million
        assert params == 33_337_704


@pytest.mark.parametrize("name", TABLE_2)
def test_costs_of_table_2(name: str) -> None:
    depth, k, is_bc, millions = TABLE_2[name]
    count = (depth - 4) // (6 if is_bc else 3)
    channels = 2 * k if is_bc else 16
    stem = 9 * 3 * channels
    theta = 0.5 if is_bc else 1.0
    params, macs = sums(k, (count,) * 3, stem=(channels, stem), size=32, bottleneck=is_bc, theta=theta, classes=10)
    net = outline(name)
    assert parameters(net) == params
    assert multiplications(net, (3, 32, 32)) == macs + 32**2 * stem
    assert round(params / 1e6, 1) == millions


@pytest.mark.parametrize("name", [*TABLE_1, *TABLE_2])
def test_as_many_layers_with_weights_as_the_name_says(name: str) -> None:
    layers = [m for m in outline(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    depth = int(name.removeprefix("densenet").split("_")[0])
    assert len(layers) == depth + (name == "densenet264")  # which has 265 by the count of the others


@pytest.mark.parametrize("name", TABLE_1)
def test_sizes_of_table_1(name: str) -> None:
    endpoints = outline(name).endpoints(torch.zeros(1, 3, 224, 224, device="meta"))
    sizes = {stage: output.shape[2] for stage, output in endpoints.items() if output.dim() == 4}
    assert sizes == {
        "stem": 56,  # convolution to 112x112 and pooling
        "denseblock1": 56,
        "transition1": 28,  # convolution at 56x56 and pooling
        "denseblock2": 28,
        "transition2": 14,
        "denseblock3": 14,
        "transition3": 7,
        "denseblock4": 7,
        "norm5": 7,
    }


@pytest.mark.parametrize(
    ("name", "classes", "params", "macs"),
    [  # weiaicunzai/pytorch-cifar100, whose networks for 32 px these are; densenet121 is kuangliu/pytorch-cifar's too
        ("densenet121", 100, 7_048_548, 888_442_880),
        ("densenet161", 100, 26_681_188, 2_467_749_504),
        ("densenet201", 100, 18_277_220, 1_364_061_696),
    ],
)
def test_costs_with_the_small_stem(name: str, classes: int, params: int, macs: int) -> None:
    net = outline(name, num_classes=classes, stem="small")
    assert (parameters(net), multiplications(net, (3, 32, 32))) == (params, macs)
    *_, last, _ = net.endpoints(torch.zeros(1, 3, 32, 48, device="meta")).values()
    assert last.shape[2:] == (4, 6)


@pytest.mark.parametrize(("theta", "expected"), [(1.0, 21), (0.5, 10)])
def test_transitions_compress_to_the_whole_number_below(theta: float, expected: int) -> None:
    with torch.device("meta"):
        net = DenseNet(
            num_classes=2,
            unit=DenseLayer,
            growth_rate=5,
            num_layers=(1, 1),
            stem_channels=16,
            compression=theta,
            stem="small",
        )
        assert net.endpoints(torch.zeros(1, 3, 8, 8))["transition1"].shape == (1, expected, 4, 4)


@torch.no_grad()
@pytest.mark.parametrize("unit", [DenseLayer, DenseBottleneck])
def test_each_layer_takes_all_before_it_in_order(unit: DenseUnit) -> None:
    block = DenseBlock(unit, 6, 4, 3).eval()
    for buffer in block.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(len(buffer))) + 0.5)
    given = images_of(2, 6, 5, 7)
    maps = given.double().numpy()
    for number in range(3):
        weights = {key: value.double() for key, value in block[f"denselayer{number + 1}"].state_dict().items()}
        x = torch.from_numpy(maps)
        for i in range(1, unit.num_convolutions + 1):
            mean, variance, scale, shift = (
                weights[f"norm{i}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
            )
            x = (((x - mean) / (variance + 1e-5).sqrt()) * scale + shift).clamp(min=0)
            kernel = weights[f"conv{i}.weight"]
            x = nn.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        maps = np.concatenate((maps, x.numpy()), axis=1)
    out = block(given)
    assert torch.equal(out[:, :6], given)
    np.testing.assert_allclose(out.numpy(), maps, atol=1e-5)


@torch.no_grad()
def test_a_dilated_block_is_the_plain_one_on_every_other_pixel() -> None:
    """As a transition that had pooled would have given it: the holes of the kernel are the pixels left out."""
    plain, dilated = DenseBlock(DenseBottleneck, 6, 4, 3), DenseBlock(DenseBottleneck, 6, 4, 3, dilation=2)
    dilated.load_state_dict(plain.state_dict())
    plain.eval(), dilated.eval()
    images = images_of(2, 6, 10, 14)
    out = dilated(images)
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        torch.testing.assert_close(out[:, :, top::2, left::2], plain(images[:, :, top::2, left::2].contiguous()))


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations"),
    [(32, [2, 2, 2], [1, 1, 1, 1]), (16, [2, 2, 1], [1, 1, 1, 2]), (8, [2, 1, 1], [1, 1, 2, 4])],
)
def test_output_stride_dilates_where_transitions_stop_pooling(
    output_stride: int, strides: list[int], dilations: list[int]
) -> None:
    net = outline("densenet121", output_stride=output_stride)
    pools = [m.pool for m in net.modules() if isinstance(m, Transition)]
    assert [pool.stride if isinstance(pool, nn.AvgPool2d) else 1 for pool in pools] == strides
    for number, dilation in enumerate(dilations, start=1):
        kernels = [m for m in net.features[f"denseblock{number}"].modules() if isinstance(m, nn.Conv2d)]
        assert {(m.dilation[0], m.padding[0]) for m in kernels if m.kernel_size == (3, 3)} == {(dilation, dilation)}
    assert net.min_size == (output_stride, output_stride)


@pytest.mark.parametrize("name", ["densenet121", "densenet40_k12", "densenet100_k12_bc"])
def test_dropout_follows_every_convolution_but_the_first(name: str) -> None:
    net = outline(name, dropout=0.2)
    order: list[str] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Dropout):
            module.register_forward_hook(lambda m, *_: order.append(type(m).__name__))
    net(torch.zeros(1, 3, 32, 32, device="meta"))
    convolutions = order.count("Conv2d")
    assert order == ["Conv2d"] + ["Conv2d", "Dropout"] * (convolutions - 1)
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.2}
    assert {m.p for m in outline(name).modules() if isinstance(m, nn.Dropout)} == {0.0}


def test_convolutions_begin_with_the_variance_of_their_inputs() -> None:
    """As torchvision's: N(0, 2 / fan_in), norms 1 and 0, the dense layer's biases 0."""
    torch.manual_seed(0)
    net = zoo.build("densenet40_k12")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().double()
            expected = (2 / weight[0].numel()) ** 0.5
            assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5)
            assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
    assert not net.classifier_head.bias.any()


# Less memory


def pair(unit: DenseUnit, **options: float) -> tuple[DenseBlock, DenseBlock]:
    """The plain block and the memory-efficient one, with the same weights."""
    torch.manual_seed(0)
    plain = DenseBlock(unit, 8, 4, 4, **options)  # type: ignore[arg-type]
    efficient = DenseBlock(unit, 8, 4, 4, memory_efficient=True, **options)  # type: ignore[arg-type]
    efficient.load_state_dict(plain.state_dict())
    return plain, efficient


def step(block: nn.Module, images: Tensor) -> Tensor:
    """Output of a training step."""
    torch.manual_seed(1)  # for dropout
    out: Tensor = block(images)
    out.square().mean().backward()
    return out.detach()


def assert_same(plain: nn.Module, efficient: nn.Module) -> None:
    for (key, one), (_, other) in zip(plain.named_parameters(), efficient.named_parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad), key
    for (key, one), (_, other) in zip(plain.named_buffers(), efficient.named_buffers(), strict=True):
        assert torch.equal(one, other), key


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"dilation": 2}])
@pytest.mark.parametrize("unit", [DenseLayer, DenseBottleneck])
def test_memory_efficient_steps_are_the_plain_ones_to_the_bit(unit: DenseUnit, options: dict[str, float]) -> None:
    plain, efficient = pair(unit, **options)
    for number in range(3):
        images = [images_of(3, 8, 6, 6, seed=number).requires_grad_() for _ in range(2)]
        assert torch.equal(step(plain, images[0]), step(efficient, images[1]))
        assert images[0].grad is not None and images[1].grad is not None
        assert torch.equal(images[0].grad, images[1].grad)
        assert_same(plain, efficient)  # running statistics too: they change once a step
    assert efficient["denselayer1"].norm1.num_batches_tracked == 3


def test_a_memory_efficient_network_trains_as_the_plain_one_to_the_bit() -> None:
    nets = []
    for memory_efficient in (False, True):
        torch.manual_seed(0)
        nets.append(zoo.build("densenet121", num_classes=3, stem="small", memory_efficient=memory_efficient))
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in nets]
    for number in range(2):
        images, labels = images_of(2, 3, 16, 16, seed=number), torch.tensor([0, 1])
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        assert_same(*nets)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_memory_efficient_in_bfloat16_and_with_frozen_statistics() -> None:
    plain, efficient = pair(DenseBottleneck)
    images = images_of(3, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        step(plain, images), step(efficient, images)
    assert_same(plain, efficient)
    before = [buffer.clone() for buffer in efficient.buffers()]
    for block in (plain, efficient):
        block.eval()
        block.zero_grad()
        step(block, images)
    assert_same(plain, efficient)
    assert all(torch.equal(one, other) for one, other in zip(before, efficient.buffers(), strict=True))


class Operations(TorchDispatchMode):
    """Counts what runs, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.name().removeprefix("aten::")
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("unit", [DenseLayer, DenseBottleneck])
def test_what_is_computed_again_is_the_concatenation_and_its_norm_but_no_convolution(unit: DenseUnit) -> None:
    layers, counts = 4, []
    for block in pair(unit):
        with Operations() as operations:
            step(block, images_of(3, 8, 6, 6))
        counts.append(operations.counts)
    plain, efficient = counts
    for name, again in (("cat", layers), ("native_batch_norm", layers), ("relu_", layers), ("convolution", 0)):
        assert efficient[name] == plain[name] + again, name
    assert plain["convolution"] == unit.num_convolutions * layers


def test_without_gradients_the_memory_efficient_form_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, efficient = pair(DenseBottleneck)
    images = images_of(3, 8, 6, 6)

    def unused(*_: object, **__: object) -> Tensor:
        raise AssertionError("checkpointing costs time and saves nothing here")

    monkeypatch.setattr(dense, "checkpoint", unused)
    with torch.no_grad():
        assert torch.equal(plain(images), efficient(images))
    with pytest.raises(AssertionError, match="checkpointing"):
        efficient(images)


def kept_bytes(net: nn.Module, images: Tensor) -> int:
    """What the graph holds for the backward pass, weights aside."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers(), images)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # which keeps it alive, so that no address comes twice

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = net(images)
    assert out.requires_grad
    return sum(kept.values())


def test_kept_memory_grows_with_the_layers_instead_of_their_square() -> None:
    """Three values for the second differences of what is kept for 8, 16 and 24 layers."""
    kept: dict[bool, list[int]] = {False: [], True: []}
    for memory_efficient, totals in kept.items():
        for layers in (8, 16, 24):
            block = DenseBlock(DenseBottleneck, 8, 4, layers, memory_efficient=memory_efficient)
            totals.append(kept_bytes(block, images_of(2, 8, 16, 16)))
    bent = {key: (c - b) - (b - a) for key, (a, b, c) in kept.items()}
    pixels = 4 * 2 * 16 * 16
    square = 8**2 * 4  # channels: second difference of the sum of 4 i over the layers
    assert bent[False] == pytest.approx(2 * square * pixels, rel=0.02)  # each concatenation, and its norm's
    assert abs(bent[True]) < 0.02 * square * pixels
    assert kept[True][2] < 0.5 * kept[False][2]


def test_memory_efficient_networks_compile_for_training_and_export() -> None:
    plain, efficient = pair(DenseBottleneck)
    images = images_of(3, 8, 6, 6)
    torch.compiler.reset()
    compiled = torch.compile(efficient, backend="aot_eager", fullgraph=True)
    step(plain, images), step(compiled, images)
    for one, other in zip(plain.parameters(), efficient.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for (key, one), (_, other) in zip(plain.named_buffers(), efficient.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=key)
    for strict in (False, True):
        exported = torch.export.export(efficient.eval(), (images,), strict=strict)  # gradients on, as users leave them
        assert not [node for node in exported.graph.nodes if "checkpoint" in str(node.target)]
        torch.testing.assert_close(exported.module()(images), plain.eval()(images))
