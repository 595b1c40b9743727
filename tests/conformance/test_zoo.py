"""What every network of the zoo promises, whatever it is: one row in the table meets every check."""

import copy
import json
import re

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.base import Classifier, InitialisesFromData

CLASSES = 5
_CIFAR_STAGES = {"stem": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8)}


def _resnet_stages(expansion: int) -> dict[str, tuple[int, ...]]:
    channels = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    sizes = {"layer1": 8, "layer2": 4, "layer3": 2, "layer4": 1}
    layers = {layer: (expansion * channels[layer], sizes[layer], sizes[layer]) for layer in channels}
    return {"stem": (64, 8, 8), **layers}


# What follows each stage of a picture of 3x32x32, without the batch.
STAGES: dict[str, dict[str, tuple[int, ...]]] = {
    "simple_cnn": {"block1": (32, 16, 16), "block2": (64, 8, 8), "block3": (128, 4, 4)},
    "lenet5": {"s2": (6, 14, 14), "s4": (16, 5, 5), "c5": (120,), "f6": (84,)},
    "resnet18": _resnet_stages(1),
    "resnet34": _resnet_stages(1),
    "resnet50": _resnet_stages(4),
    "resnet101": _resnet_stages(4),
    "resnet152": _resnet_stages(4),
    "resnet20": _CIFAR_STAGES,
    "resnet32": _CIFAR_STAGES,
    "resnet44": _CIFAR_STAGES,
    "resnet56": _CIFAR_STAGES,
    "resnet110": _CIFAR_STAGES,
    "airbench94": {"stem": (24, 31, 31), "group1": (64, 15, 15), "group2": (256, 7, 7), "group3": (256, 3, 3)},
    "airbench_small": {"stem": (24, 31, 31), "group1": (32, 15, 15), "group2": (64, 7, 7), "group3": (128, 3, 3)},
}

# Networks that differ in depth alone: the shallowest stands for them where a check takes seconds.
SHALLOW = ["simple_cnn", "lenet5", "resnet18", "resnet50", "resnet20", "airbench94", "airbench_small"]


def images_of(count: int, channels: int = 3, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def build(name: str, **options: object) -> Classifier:
    """With the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return zoo.build(name, num_classes=CLASSES, **options)  # type: ignore[arg-type]


def outline(name: str, **options: object) -> Classifier:
    """Without weights: shapes alone, in no time."""
    with torch.device("meta"):
        return build(name, **options).eval()


@pytest.fixture(scope="module", params=zoo.names())
def net(request: pytest.FixtureRequest) -> Classifier:
    """Every network in turn, with weights; tests leave it as it was."""
    return build(request.param)


@pytest.fixture
def evaluated(net: Classifier) -> Classifier:
    return net.eval()


@pytest.fixture(params=zoo.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_tables_of_this_file_cover_the_zoo() -> None:
    assert list(STAGES) == zoo.names()
    depth = ("num_blocks",)
    kinds = [(e.builder, *(v for k, v in e.row.items() if k not in depth)) for e in zoo.ZOO.values()]
    stand_ins = [kinds[zoo.names().index(name)] for name in SHALLOW]
    assert all(kind in stand_ins for kind in kinds)


@torch.no_grad()
def test_endpoints_are_the_stages_and_end_in_the_logits(evaluated: Classifier) -> None:
    images = images_of(2)
    logits, endpoints = evaluated(images), evaluated.endpoints(images)
    shapes = {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}
    assert list(shapes.items()) == [*STAGES[evaluated.name].items(), ("head", (CLASSES,))]
    assert logits.shape == (2, CLASSES) and logits.dtype == torch.float32 and logits.isfinite().all()
    assert torch.equal(endpoints["head"], logits)


@torch.no_grad()
def test_no_stage_writes_into_what_it_was_given(evaluated: Classifier) -> None:
    """Or the endpoint before it would show what came later: an activation in place at a stage's beginning does so."""
    images = images_of(1)
    output, given = images, images.clone()
    for stage, endpoint in evaluated.endpoints(images).items():
        output = evaluated.stages()[stage](output.clone())
        assert torch.equal(endpoint, output), stage
    assert torch.equal(images, given)


@torch.no_grad()
def test_the_answer_for_a_picture_does_not_depend_on_its_batch(evaluated: Classifier) -> None:
    images = images_of(3)
    alone = torch.cat([evaluated(image[None]) for image in images])
    torch.testing.assert_close(evaluated(images), alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


@torch.no_grad()
def test_the_smallest_pictures_work(evaluated: Classifier) -> None:
    logits = evaluated(images_of(1, size=evaluated.min_size))
    assert logits.shape == (1, CLASSES) and logits.isfinite().all()


def test_the_gradient_reaches_every_parameter_and_a_step_along_it_lowers_the_loss(net: Classifier) -> None:
    trained = copy.deepcopy(net).train().double()  # a small step needs the digits
    for module in trained.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the loss before and after has to be of the same function
    images, labels = images_of(4).double(), torch.arange(4)
    loss = nn.functional.cross_entropy(trained(images), labels)
    loss.backward()
    before = loss.item()
    gradients = {key: parameter.grad for key, parameter in trained.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # A bias before a batch norm is taken away again, so that its gradient is zero but for rounding.
    unused = ("conv.bias",) if trained.name == "simple_cnn" else ()
    assert [key for key, gradient in gradients.items() if not gradient.any() and not key.endswith(unused)] == []

    slope = sum(gradient.square().sum().item() for gradient in gradients.values())
    promised = 1e-6 * before  # by the first-order estimate
    torch.optim.SGD(trained.parameters(), lr=promised / slope).step()
    gained = before - nn.functional.cross_entropy(trained(images), labels).item()
    assert gained == pytest.approx(promised, rel=0.01)


@torch.no_grad()
def test_arguments_and_state_dict_make_the_same_network_again(evaluated: Classifier) -> None:
    args = json.loads(json.dumps(dict(evaluated.model_args)))
    again = zoo.build(evaluated.name, **args).eval()
    assert (again.model_args, again.name) == (evaluated.model_args, evaluated.name)
    again.load_state_dict(evaluated.state_dict(), strict=True)
    images = images_of(2, seed=1)
    assert torch.equal(again(images), evaluated(images))


def test_the_head_is_the_last_linear_layer(name: str) -> None:
    net = outline(name)
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    assert net.classifier_head is linear[-1]
    assert (net.classifier_head.in_features, net.classifier_head.out_features) == (net.num_features, CLASSES)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", SHALLOW)
def test_any_number_of_channels(name: str, channels: int) -> None:
    net = outline(name, in_channels=channels)
    assert net.in_channels == channels and net.model_args["in_channels"] == channels
    assert net(torch.zeros(2, channels, 32, 32, device="meta")).shape == (2, CLASSES)


@pytest.mark.parametrize("size", [(32, 48), (57, 33), (64, 64)])
@pytest.mark.parametrize("name", SHALLOW)
def test_any_size(name: str, size: tuple[int, int]) -> None:
    net = outline(name, image_size=size)
    assert net(torch.zeros(2, 3, *size, device="meta")).shape == (2, CLASSES)


def test_pictures_of_another_layout_are_refused(name: str) -> None:
    net = outline(name)
    for shape in ((2, 4, 32, 32), (2, 1, 32, 32), (3, 32, 32), (2, 32, 32, 3), (1, 2, 3, 32, 32)):
        received = re.escape(str(shape))
        message = rf"^{name} needs images of shape \(N, 3, H, W\), got {received}\. Batch them, or build the network"
        for call in (net, net.endpoints):
            with pytest.raises(ShapeError, match=message):
                call(torch.zeros(shape, device="meta"))


def test_pictures_that_are_too_small_are_refused(name: str) -> None:
    net = outline(name)
    height, width = net.min_size
    for size in ((height - 1, width), (height, width - 1), (0, 0)):
        if net.fixed_size is None:
            message = rf"^{name} needs images of at least {height}x{width} px, got {size[0]}x{size[1]} px\. Enlarge"
        else:
            message = rf"^{name} was built for images of {height}x{width} px, got {size[0]}x{size[1]} px: .* image_size"
        with pytest.raises(ShapeError, match=message):
            net(torch.zeros(2, 3, *size, device="meta"))


@pytest.mark.parametrize("name", SHALLOW)
@torch.no_grad()
def test_export_with_any_batch_size(name: str) -> None:
    net = build(name).eval()
    exported = torch.export.export(net, (images_of(2),), dynamic_shapes=({0: Dim("batch")},)).module()
    for count in (1, 2, 5):
        images = images_of(count, seed=count)
        torch.testing.assert_close(exported(images), net(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SHALLOW)
@torch.no_grad()
def test_compiles_into_one_graph(name: str) -> None:
    net = build(name).eval()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    images = images_of(2)
    assert torch.equal(compiled(images), net(images))


@pytest.mark.parametrize(
    ("name", "options", "last", "reduction"),
    [
        ("resnet18", {"stem": "imagenet"}, "layer4", 32),
        ("resnet18", {"stem": "small"}, "layer4", 8),
        ("resnet50", {"stem": "imagenet"}, "layer4", 32),
        ("resnet50", {"stem": "small"}, "layer4", 8),
        ("resnet20", {}, "layer3", 4),
    ],
)
def test_resnets_divide_the_size_as_they_say(name: str, options: dict[str, str], last: str, reduction: int) -> None:
    net = outline(name, **options)
    assert net.min_size == (reduction, reduction)  # the last stage sees one pixel and no less
    assert net.endpoints(torch.zeros(2, 3, 64, 96, device="meta"))[last].shape[2:] == (64 // reduction, 96 // reduction)


def test_networks_that_start_from_data_do_so_in_place(net: Classifier) -> None:
    if not isinstance(net, InitialisesFromData):
        assert not hasattr(net, "initialise_from")
        return
    started = copy.deepcopy(net)
    assert isinstance(started, InitialisesFromData)
    started.initialise_from(images_of(16))
    changed = [key for key, tensor in net.state_dict().items() if not torch.equal(tensor, started.state_dict()[key])]
    assert changed and all(key.startswith("whiten.") for key in changed)
