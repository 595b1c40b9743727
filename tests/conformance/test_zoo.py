"""What every network of the zoo promises, whatever it is: one row in the table meets every check."""

import copy
import itertools
import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from sightline.errors import ShapeError
from sightline.models import zoo
from sightline.models.base import Classifier, HasAuxiliaryHeads, InitialisesFromData
from sightline.nn.drop import StochasticDepth

from .stages import DEEPEST, SIZES, STAGES

CLASSES = 5


def _kind(name: str) -> str:
    """What a network is made of, without its numbers: networks of one kind differ in depth and width alone."""
    entry = zoo.ZOO[name]
    parts = {key: value for key, value in entry.row.items() if isinstance(value, str | bool) or callable(value)}
    parts["grouped"] = entry.row.get("groups", 1) > 1
    return f"{entry.builder} {parts}"


# The first of each kind stands for it in most checks; the others have theirs in `make proofs`.
STAND_INS = list({_kind(name): name for name in reversed(zoo.names())}.values())[::-1]


def each(names: list[str]) -> list[Any]:
    """Parameters of a test: those that only repeat what their stand-in shows are among the proofs."""
    return [pytest.param(name, marks=() if name in STAND_INS else pytest.mark.proof) for name in names]


def first_of_family(names: list[str]) -> list[Any]:
    """Parameters of a test that takes a while: the first network of each family, the others among the proofs."""
    firsts = {id(zoo.ZOO[name].builder): name for name in reversed(names)}.values()
    return [pytest.param(name, marks=() if name in firsts else pytest.mark.proof) for name in names]


def having(option: str) -> list[Any]:
    """Networks with an option, as parameters of a test."""
    return each([name for name, entry in zoo.ZOO.items() if option in entry.options])


EVERY = each(zoo.names())
FAMILIES = first_of_family(zoo.names())
OUTLINED = [pytest.param(name, marks=pytest.mark.proof if name in DEEPEST else ()) for name in zoo.names()]


def size_of(name: str) -> tuple[int, int]:
    """Height and width of the example's pictures."""
    return SIZES.get(name, (32, 32))


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


@pytest.fixture(scope="module", params=EVERY)
def net(request: pytest.FixtureRequest) -> Classifier:
    """Each network in turn, with weights, for three channels and the example's size; tests leave it as it was."""
    return seasoned(build(request.param, in_channels=3, **fixed(request.param)))


@torch.no_grad()
def seasoned(net: Classifier) -> Classifier:
    """With the batch norms' statistics of a few pictures: without any, a thousand residual units end in infinity."""
    momenta = {module: module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
    for module in momenta:
        module.momentum = 0.5  # the variance of few values alone may be next to nothing
    net.train()(images_of(4, size=size_of(net.name)))
    for module, momentum in momenta.items():
        module.momentum = momentum
    return net


@pytest.fixture
def evaluated(net: Classifier) -> Classifier:
    return net.eval()


@pytest.fixture(params=OUTLINED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sample(net: Classifier, count: int, seed: int = 0) -> Tensor:
    """Pictures that the network takes."""
    return images_of(count, size=size_of(net.name), seed=seed)


def without_chance(net: Classifier) -> Classifier:
    """A copy in training mode whose forward pass draws no random number."""
    trained = copy.deepcopy(net).train()
    for module in trained.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
    return trained


def test_the_table_of_stages_covers_the_zoo() -> None:
    assert list(STAGES) == zoo.names()
    assert set(SIZES) <= set(STAGES)
    assert len(STAND_INS) < len(EVERY)


def test_stages_have_the_shapes_of_the_table(name: str) -> None:
    net = outline(name, in_channels=3, **fixed(name))
    endpoints = net.endpoints(torch.zeros(2, 3, *size_of(name), device="meta"))
    shapes = {stage: tuple(output.shape[1:]) for stage, output in endpoints.items()}
    assert list(shapes.items()) == [*STAGES[name].items(), ("head", (CLASSES,))]


def fixed(name: str) -> dict[str, tuple[int, int]]:
    """The size asked for, of networks that are built for one size; others would choose another stem by it."""
    return {"image_size": size_of(name)} if "image_size" in zoo.ZOO[name].options else {}


@torch.no_grad()
def test_endpoints_end_in_the_logits(evaluated: Classifier) -> None:
    images = sample(evaluated, 2)
    logits, endpoints = evaluated(images), evaluated.endpoints(images)
    assert logits.shape == (2, CLASSES) and logits.dtype == torch.float32 and logits.isfinite().all()
    assert list(endpoints)[-1] == "head" and torch.equal(endpoints["head"], logits)


@torch.no_grad()
def test_no_stage_writes_into_what_it_was_given(evaluated: Classifier) -> None:
    """Or the endpoint before it would show what came later: an activation in place at a stage's beginning does so."""
    images = sample(evaluated, 1)
    output, given = images, images.clone()
    for stage, endpoint in evaluated.endpoints(images).items():
        output = evaluated.named_stages()[stage](output.clone())
        assert torch.equal(endpoint, output), stage
    assert torch.equal(images, given)


@torch.no_grad()
def test_the_answer_for_a_picture_does_not_depend_on_its_batch(evaluated: Classifier) -> None:
    net = copy.deepcopy(evaluated).double()  # a hundred layers without shortcuts make float32's rounding visible
    images = sample(net, 3).double()
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-6, atol=1e-8 * float(alone.abs().max()))


@torch.no_grad()
def test_the_smallest_pictures_work(evaluated: Classifier) -> None:
    logits = evaluated(images_of(1, size=evaluated.min_size))
    assert logits.shape == (1, CLASSES) and logits.isfinite().all()


def test_every_parameter_is_on_the_way_to_the_logits(name: str) -> None:
    with torch.device("meta"):
        net = build(name, in_channels=3, **fixed(name))
    net(torch.zeros(2, 3, *size_of(name), device="meta")).sum().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


def test_the_gradient_reaches_every_parameter_and_a_step_along_it_lowers_the_loss(net: Classifier) -> None:
    trained = without_chance(net).double()  # a small step needs the digits
    images, labels = sample(net, 4).double(), torch.arange(4)
    loss = nn.functional.cross_entropy(trained(images), labels)
    loss.backward()
    before = loss.item()
    gradients = {key: parameter.grad for key, parameter in trained.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # A bias before a batch norm is taken away again, so that its gradient is zero but for rounding.
    unused = biases_before_norms(trained)
    assert [key for key, gradient in gradients.items() if not gradient.any() and key not in unused] == []

    slope = sum(gradient.square().sum().item() for gradient in gradients.values())
    promised = 1e-6 * before  # by the first-order estimate
    torch.optim.SGD(trained.parameters(), lr=promised / slope).step()
    gained = before - nn.functional.cross_entropy(trained(images), labels).item()
    assert gained == pytest.approx(promised, rel=0.01)


def biases_before_norms(net: nn.Module) -> set[str]:
    """Biases of convolutions that a batch norm follows directly, by the order of the modules."""
    leaves = [(key, module) for key, module in net.named_modules() if not list(module.children())]
    return {
        f"{key}.bias"
        for (key, module), (_, following) in itertools.pairwise(leaves)
        if isinstance(module, nn.Conv2d) and isinstance(following, nn.BatchNorm2d)
    }


@torch.no_grad()
def test_training_mode_differs_by_chance_and_batch_statistics_alone(evaluated: Classifier) -> None:
    images = sample(evaluated, 2)
    trained = without_chance(evaluated)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert torch.equal(trained(images), evaluated(images))


@torch.no_grad()
def test_arguments_and_state_dict_make_the_same_network_again(evaluated: Classifier) -> None:
    args = json.loads(json.dumps(dict(evaluated.model_args)))
    again = zoo.build(evaluated.name, **args).eval()
    assert (again.model_args, again.name) == (evaluated.model_args, evaluated.name)
    again.load_state_dict(evaluated.state_dict(), strict=True)
    images = sample(evaluated, 2, seed=1)
    assert torch.equal(again(images), evaluated(images))


def test_the_head_is_the_layer_whose_outputs_are_the_classes(name: str) -> None:
    net, wider = outline(name), _outline_of(name, CLASSES + 1)
    head = {key for key, module in net.named_modules() if module is net.classifier_head}
    assert len(head) == 1
    shapes = {key: tensor.shape for key, tensor in wider.state_dict().items()}
    differing = [key for key, tensor in net.state_dict().items() if tensor.shape != shapes[key]]
    assert differing and all(key.startswith(tuple(head)) for key in differing)
    weight = net.classifier_head.weight
    assert weight.shape[:2] == (CLASSES, net.num_features)


def _outline_of(name: str, num_classes: int) -> Classifier:
    with torch.device("meta"):
        return zoo.build(name, num_classes=num_classes)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", EVERY)
def test_any_number_of_channels(name: str, channels: int) -> None:
    net = outline(name, in_channels=channels, **fixed(name))
    assert net.in_channels == channels and net.model_args["in_channels"] == channels
    assert net(torch.zeros(1, channels, *size_of(name), device="meta")).shape == (1, CLASSES)


@pytest.mark.parametrize(("more", "wider"), [(0, 16), (25, 1), (32, 32)])
@pytest.mark.parametrize("name", EVERY)
def test_any_size(name: str, more: int, wider: int) -> None:
    height, width = size_of(name)
    size = (height + more, width + wider)
    for net in (outline(name, in_channels=3, image_size=size), outline(name, in_channels=3)):
        if net.fixed_size in (None, size):  # the second is made for the paper's size where there is but one
            assert net(torch.zeros(1, 3, *size, device="meta")).shape == (1, CLASSES)


def test_what_is_left_out_is_the_papers(name: str) -> None:
    with torch.device("meta"):
        net = zoo.build(name).eval()
    entry = zoo.ZOO[name]
    assert (net.in_channels, net.num_classes) == (entry.input_size[0], entry.num_classes)
    assert net(torch.zeros(1, *entry.input_size, device="meta")).shape == (1, entry.num_classes)


@pytest.mark.parametrize("name", EVERY)
def test_pictures_of_another_layout_are_refused(name: str) -> None:
    net = outline(name, in_channels=3)
    for shape in ((2, 4, 32, 32), (2, 1, 32, 32), (3, 32, 32), (2, 32, 32, 3), (1, 2, 3, 32, 32)):
        received = re.escape(str(shape))
        message = rf"^{name} needs images of shape \(N, 3, H, W\), got {received}\. Batch them, or build the network"
        for call in (net, net.endpoints):
            with pytest.raises(ShapeError, match=message):
                call(torch.zeros(shape, device="meta"))


@pytest.mark.parametrize("name", EVERY)
def test_pictures_that_are_too_small_are_refused(name: str) -> None:
    net = outline(name, in_channels=3)
    height, width = net.min_size
    for size in ((height - 1, width), (height, width - 1), (0, 0)):
        if net.fixed_size is None:
            message = rf"^{name} needs images of at least {height}x{width} px, got {size[0]}x{size[1]} px\. Enlarge"
        else:
            message = rf"^{name} was built for images of {height}x{width} px, got {size[0]}x{size[1]} px: .* image_size"
        with pytest.raises(ShapeError, match=message):
            net(torch.zeros(2, 3, *size, device="meta"))


def test_the_minimum_is_no_larger_than_it_has_to_be(name: str) -> None:
    """One pixel less, and some layer fails or some stage sees less than a pixel of its own."""
    net = outline(name, in_channels=3)
    if net.fixed_size is not None:
        return  # the builder says which sizes it takes; see tests/models
    height, width = net.min_size
    shapes = [tuple(o.shape[2:]) for o in net.endpoints(torch.zeros(1, 3, height, width, device="meta")).values()]
    assert min(min(shape) for shape in shapes if len(shape) == 2) == 1


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("name", having("stem"))
def test_both_stems_work_at_their_smallest_size_and_above(name: str, stem: str) -> None:
    net = outline(name, stem=stem)
    for size in (net.min_size, (96, 64), (99, 131)):
        assert net(torch.zeros(1, net.in_channels, *size, device="meta")).shape == (1, CLASSES)
    smaller = outline(name, stem="small").min_size
    assert smaller < outline(name, stem="imagenet").min_size


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", having("output_stride"))
def test_output_stride_keeps_the_size_and_the_weights(name: str, output_stride: int) -> None:
    dilated, plain = outline(name, output_stride=output_stride), outline(name)
    assert {k: v.shape for k, v in dilated.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    *_, last, _ = dilated.endpoints(torch.zeros(1, 3, 128, 192, device="meta")).values()
    assert last.shape[2:] == (128 // output_stride, 192 // output_stride)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_export_with_any_batch_size(name: str) -> None:
    net = seasoned(build(name, in_channels=3, **fixed(name))).eval()
    exported = torch.export.export(net, (sample(net, 2),), dynamic_shapes=({0: Dim("batch")},)).module()
    for count in (1, 2, 5):
        images = sample(net, count, seed=count)
        torch.testing.assert_close(exported(images), net(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_compiles_into_one_graph(name: str) -> None:
    net = seasoned(build(name, in_channels=3, **fixed(name))).eval()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    images = sample(net, 2)
    assert torch.equal(compiled(images), net(images))


def test_networks_that_start_from_data_do_so_in_place(net: Classifier) -> None:
    if not isinstance(net, InitialisesFromData):
        assert not hasattr(net, "initialise_from")
        return
    started = copy.deepcopy(net)
    assert isinstance(started, InitialisesFromData)
    started.initialise_from(images_of(16))
    changed = [key for key, tensor in net.state_dict().items() if not torch.equal(tensor, started.state_dict()[key])]
    assert changed and all(key.startswith("whiten.") for key in changed)


@pytest.mark.parametrize("name", having("aux_heads"))
def test_auxiliary_heads_are_built_when_asked_and_get_gradients(name: str) -> None:
    size = zoo.ZOO[name].input_size[1:]
    plain, net = build(name), build(name, aux_heads=True)
    assert isinstance(plain, HasAuxiliaryHeads) and isinstance(net, HasAuxiliaryHeads)
    images = images_of(2, size=size)
    assert plain.forward_with_auxiliary(images)[1] == []
    logits, auxiliary = net.forward_with_auxiliary(images)
    assert len(auxiliary) == len(net.optional_parts) > 0
    assert all(each.shape == logits.shape == (2, CLASSES) for each in auxiliary)
    (logits.sum() + sum(each.sum() for each in auxiliary)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    optional = {key.split(".")[0] for key in net.state_dict()} - {key.split(".")[0] for key in plain.state_dict()}
    assert optional == set(net.optional_parts) == set(plain.optional_parts)
    with torch.no_grad():
        images = images_of(1, size=size)
        assert torch.equal(net.eval()(images), net.forward_with_auxiliary(images)[0])
