"""A recorded run holds what really ran, for whatever a forward does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ConfigError, ShapeError
from sightline.inspection.trace import Trace, record

from .nets import Function, Staged


def names(trace: Trace) -> list[str]:
    return [operation.name for operation in trace.operations]


def test_control_flow_shows_as_it_went() -> None:
    def forward(net: Function, x: Tensor) -> Tensor:
        for _ in range(x.shape[2]):
            x = net.conv(x)
        return net.big(x) if x.shape[2] > 2 else net.small(x)

    trace = record(Function(forward, conv=nn.Conv2d(1, 1, 1), big=nn.ReLU(), small=nn.Sigmoid()), (1, 2, 5))
    assert names(trace) == ["convolution", "convolution", "sigmoid"]
    assert [call.name for call in trace.calls] == ["", "conv", "conv", "small"]


def test_layers_are_told_with_their_nesting_and_their_operations() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)), nn.Flatten())
    trace = record(net, (3, 2, 2))
    assert [(call.name, call.parent, call.depth, call.first, call.last, call.place) for call in trace.calls] == [
        ("", None, 0, 0, 3, 4),
        ("0", 0, 1, 0, 2, 2),
        ("0.0", 1, 2, 0, 1, 0),
        ("0.1", 1, 2, 1, 2, 1),
        ("1", 0, 1, 2, 3, 3),
    ]
    assert [trace.calls[operation.call].name for operation in trace.operations] == ["0.0", "0.1", "1"]
    assert [call.name for call in trace.calls_as_they_ended()] == ["0.0", "0.1", "0", "1", ""]


def test_memory_is_told_apart_from_views_and_writes_in_place() -> None:
    def forward(net: Function, x: Tensor) -> Tensor:
        y = x * 2
        y[:, :1] += 1
        return y.flatten(1).relu_()

    trace = record(Function(forward), (2, 3, 3))
    product, *others, relu = trace.operations
    assert product.outputs[0].storage != trace.images.storage
    assert {operation.outputs[0].storage for operation in others} == {product.outputs[0].storage}
    assert relu.written == list(relu.outputs) == [relu.inputs[0]]
    assert trace.num_bytes[product.outputs[0].storage] == 18 * 4


def test_equal_references_are_the_same_numbers() -> None:
    trace = record(Function(lambda _, x: x.view(2, 4).view(1, 2, 4)), (2, 4))
    first, second = trace.operations
    assert first.outputs[0] != trace.images == second.outputs[0]


def test_outputs_may_be_anything_that_holds_tensors() -> None:
    trace = record(Function(lambda _, x: {"maps": [x + 1, (x * 2, None)], "name": "x"}), (1, 2, 2))
    assert [ref.shape for ref in trace.calls[0].outputs] == [(1, 1, 2, 2)] * 2


def test_arguments_are_by_name_with_their_defaults() -> None:
    trace = record(nn.Conv2d(3, 4, 3, stride=2, padding="valid", dilation=2), (3, 9, 9))
    given = trace.operations[0].arguments
    assert (given["stride"], given["dilation"], given["groups"], given["transposed"]) == ([2, 2], [2, 2], 1, False)
    assert given["weight"] == trace.parameters["weight"] and given["weight"].shape == (4, 3, 3, 3)


def test_stages_are_calls_and_layers_that_are_stages_carry_the_name() -> None:
    trace = record(Staged(), (3, 8, 8))
    assert [(call.name, call.stage) for call in trace.calls if call.stage] == [
        ("stem", "stem"),
        ("blocks", "body"),
        ("head", "head"),
    ]
    assert trace.name_of(0) == "Staged" and trace.name_of(1) == "stem"


def test_values_stay_out_of_it() -> None:
    """A terabyte of weights is no trouble, as long as nobody reads or copies them."""
    net = nn.Linear(1, 1)
    net.weight = nn.Parameter(torch.zeros(1).expand(500_000, 500_000))
    net.bias = nn.Parameter(torch.zeros(1).expand(500_000))
    assert record(net, (500_000,)).operations[-1].outputs[0].shape == (1, 500_000)
    (kept,) = record(net, (500_000,), training=True).saved
    assert kept.num_bytes == 500_000 * 4  # the picture, and no weight


def test_tensors_that_are_no_parameters_are_followed_as_well() -> None:
    def forward(net: Function, x: Tensor) -> Tensor:
        return x.to("cpu") * net.scale + torch.arange(4) + torch.zeros(4, device="cpu") + net.constant.to("cpu")

    net = Function(forward)
    net.scale, net.constant = torch.ones(4), torch.tensor(2.0)
    assert record(net, (2, 4)).calls[0].outputs[0].shape == (1, 2, 4)
    lstm = Function(lambda net, x: net.lstm(x)[0], lstm=nn.LSTM(3, 5))  # keeps its weights in a list of its own
    assert record(lstm, (7, 3), training=True).calls[0].outputs[0].shape == (1, 7, 5)


def test_counters_that_networks_read_are_there() -> None:
    net = nn.BatchNorm2d(3, momentum=None)  # the cumulative average divides by the number of batches
    record(net, (3, 2, 2), training=True)
    assert net.num_batches_tracked == 0


def test_weights_that_hooks_and_parametrizations_make_are_followed() -> None:
    net = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    assert names(record(net, (3, 5, 5)))[-1] == "convolution"
    assert not net.weight.is_meta


def test_a_shared_parameter_is_one() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    parameters = record(net, (3,)).parameters
    assert parameters["0.weight"] == parameters["1.weight"] != parameters["0.bias"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_run_is_in_the_networks_precision(dtype: torch.dtype) -> None:
    assert record(nn.Conv2d(3, 4, 1).to(dtype), (3, 2, 2)).operations[0].outputs[0].dtype == dtype


def test_grad_and_inference_mode_around_it_do_not_matter() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    for context in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with context:
            assert names(record(net, (3, 2, 2))) == ["convolution", "relu"]
            assert [saved.num_bytes for saved in record(net, (3, 2, 2), training=True).saved] == [48, 64]


def kept_for_real(net: nn.Module, images: Tensor) -> int:
    """What a real training step on the CPU saves: each memory once, without parameters and buffers."""
    sizes: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in [*net.parameters(), *net.buffers()]}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(tensor)
        if storage.nbytes() and storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = net.train()(images)
    del output
    return sum(sizes.values())


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.GELU(), nn.Dropout(0.5), nn.AvgPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Function(lambda net, x: net.b(net.a(x)) + net.a(x), a=nn.Conv2d(3, 3, 3, padding=1), b=nn.Hardswish()),
        Function(lambda net, x: torch.cat([net.a(x), x.relu()], 1).softmax(1), a=nn.Conv2d(3, 3, 1)),
    ],
    ids=["batch norm", "dropout", "group norm", "shared layer", "concatenation"],
)
def test_what_training_keeps_is_what_it_really_keeps(net: nn.Module) -> None:
    trace = record(net, (3, 8, 8), batch_size=2, training=True)
    assert sum(saved.num_bytes for saved in trace.saved) == kept_for_real(net, torch.randn(2, 3, 8, 8))
    assert record(net, (3, 8, 8), batch_size=2).saved == []


def test_frozen_layers_keep_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False)
    assert record(net, (3, 8, 8), training=True).saved == []


def test_an_input_that_does_not_fit_is_told_with_the_layer_and_torchs_own_words() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(5, 4, 3)))
    message = (
        r"^Sequential cannot take an input of \(1, 3, 8, 8\), batch first; in 1\.0 \(Conv2d\): .+\. Give it the inp"
    )
    with pytest.raises(ShapeError, match=message):
        record(net, (3, 8, 8))
    with pytest.raises(ShapeError, match=r"in 0 \(Conv2d\): .*[Kk]ernel size can't be greater than actual input size"):
        record(net, (3, 2, 2))


def test_a_networks_own_refusal_is_passed_on_as_it_is() -> None:
    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ShapeError("only squares, please.")

    with pytest.raises(ShapeError, match=r"^only squares, please\.$"):
        record(Strict(), (3, 8, 8))


@pytest.mark.parametrize(
    ("forward", "operation"),
    [
        (lambda _, x: x if x.sum() > 0 else -x, "aten._local_scalar_dense"),
        (lambda _, x: x[x > 0], "aten.index"),
        (lambda _, x: x * float(x.max()), "aten._local_scalar_dense"),
    ],
)
def test_what_needs_values_is_refused_with_the_operation(forward: object, operation: str) -> None:
    message = (
        rf"^Function cannot be followed: {operation}\S* needs the values of a tensor, and this run has shapes alone"
    )
    with pytest.raises(ConfigError, match=message):
        record(Function(forward), (3, 4, 4))  # type: ignore[arg-type]


def test_a_network_of_two_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Bilinear does not take one tensor of pictures: .*'input2'"):
        record(nn.Bilinear(2, 3, 4), (2,))


@pytest.mark.parametrize("size", [(3, 0, 8), (0, 8, 8)])
def test_an_empty_input_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(
        ConfigError, match=r"^the input is \(1, \d, \d, 8\), batch first; every number must be 1 or more"
    ):
        record(nn.Identity(), size)


def test_batch_norm_in_evaluation_has_torchs_own_shapes() -> None:
    """It takes a short cut."""
    for dtype in (torch.float32, torch.bfloat16):
        net = nn.BatchNorm2d(3).to(dtype).eval()
        images = torch.randn(2, 3, 4, 5, dtype=dtype).to(memory_format=torch.channels_last)
        expected = torch.native_batch_norm(
            images, net.weight, net.bias, net.running_mean, net.running_var, False, 0.1, 0.1
        )
        net = Function(lambda net, x: net.bn(x.to(memory_format=torch.channels_last)), bn=net)
        (found,) = [o for o in record(net, (3, 4, 5), batch_size=2).operations if o.name == "native_batch_norm"]
        assert [(ref.shape, ref.stride) for ref in found.outputs] == [(each.shape, each.stride()) for each in expected]
        assert found.outputs[0].dtype == expected[0].dtype


def test_functions_outside_layers_belong_to_the_layer_around_them() -> None:
    net = Function(lambda net, x: F.relu(net.conv(F.pad(x, (1, 1)))), conv=nn.Conv2d(1, 1, 1))
    trace = record(net, (1, 2, 2))
    assert [(o.name, trace.name_of(o.call)) for o in trace.operations] == [
        ("constant_pad_nd", "Function"),
        ("convolution", "conv"),
        ("relu", "Function"),
    ]
