"""Exact receptive fields, held against published figures and against what really depends on what."""

import json
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import ConfigError, ShapeError
from sightline.inspection import inspect
from sightline.inspection.receptive_field import axes_of, follow, receptive_field
from sightline.inspection.sight import smaller
from sightline.inspection.trace import record
from sightline.nn.arithmetic import ReceptiveField

from .nets import Function, Gate, Staged, chain, conv, positive, rows_that_depend_on

PAD = nn.ZeroPad2d((1, 0, 1, 0))  # before both axes, none behind
MERGED = Function(lambda _, x: x.flatten(2))


def last(net: nn.Module, size: tuple[int, ...] = (1, 16, 16), axis: str | None = None) -> tuple[int, int, int]:
    return astuple(list(receptive_field(chain(net, nn.Identity()), size, axis=axis).values())[-1])


class Join(nn.Module):
    """Two paths and their sum."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


class Same(nn.Module):
    """TensorFlow's "same" padding in front of a convolution: it depends on the size."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.layer.kernel_size, self.layer.stride
        total = max(((x.shape[2] + stride - 1) // stride - 1) * stride + kernel - x.shape[2], 0)
        return self.layer(F.pad(x, [total // 2, total - total // 2] * 2))


# google-research/receptive_field, the networks of its unit tests, by their numbers.
LEFT = conv(1, 4)
RIGHT = chain(PAD, conv(3, 2), conv(1, 2))
ONE = Join(LEFT, RIGHT)
TWO = Join(LEFT, chain(PAD, nn.MaxPool2d(3, 2), nn.MaxPool2d(1, 2)))
THREE = Join(
    chain(nn.ZeroPad2d((2, 1, 2, 1)), conv(5, 2)),
    chain(conv(3), conv(3), Function(lambda _, x: x[:, :, :8, :8])),  # of equal size, so that torch can add them
)
FOUR = Join(LEFT, chain(Same(conv(3, 2)), conv(1, 2)))
FIVE = chain(conv((3, 5), 2), conv((3, 1), 2))
SIX = Join(LEFT, chain(RIGHT, nn.Dropout(0.5)))
EIGHT = chain(ONE, Join(conv(1, 2), chain(PAD, conv(3, 2))))
NINE = chain(Join(LEFT, chain(Same(conv(3, 2)), conv(1, 2))), Join(conv(1, 2), Same(conv(3, 2))))


@pytest.mark.parametrize(
    ("net", "side", "expected"),
    [
        (ONE, 16, (3, 4, 1)),
        (TWO, 16, (3, 4, 1)),
        (FOUR, 9, (3, 4, 1)),
        (SIX, 16, (3, 4, 1)),
        (ONE, 8, (3, 4, 1)),  # number 7
        (EIGHT, 16, (11, 8, 5)),
        (NINE, 17, (11, 8, 5)),
    ],
    ids=["1", "2", "4", "6", "7", "8", "9"],
)
def test_networks_of_the_reference_implementation(net: nn.Module, side: int, expected: tuple[int, ...]) -> None:
    assert last(net, (1, side, side)) == expected


def test_number_5_has_kernels_that_are_not_square() -> None:
    assert last(FIVE, (1, 32, 32), "height") == (7, 4, 0)
    assert last(FIVE, (1, 32, 32), "width") == (5, 4, 0)
    message = r"^the field of 0\.0 is not the same along all axes \(height: .*size_px=3.*, width: .*size_px=5.*\)\. "
    with pytest.raises(ShapeError, match=message + r"Ask for one with axis='height' or axis='width'\.$"):
        receptive_field(chain(FIVE), (1, 32, 32))


def test_number_3_has_paths_of_other_strides() -> None:
    with pytest.raises(ShapeError, match=r"^Join: two paths with strides of 2 and 1 px cannot be joined: their fields"):
        receptive_field(THREE, (1, 16, 16))


def test_paths_that_are_written_side_by_side_have_to_fit_too() -> None:
    def forward(net: Function, x: Tensor) -> Tensor:
        out = torch.zeros(1, 2, 8, 8)
        out[:, :1] = net.a(x)
        out[:, 1:] = net.b(x)
        return out

    with pytest.raises(ShapeError, match=r"^Function: two paths whose first units look at pixels 0 and 0\.5 cannot be"):
        receptive_field(Function(forward, a=conv(3, 2, 1), b=nn.AvgPool2d(2, 2)), (1, 16, 16))


def test_number_4_is_shifted_at_8_px() -> None:
    with pytest.raises(ShapeError, match=r"^0: two paths whose first units look at pixels 0 and 1 cannot be joined"):
        receptive_field(chain(FOUR, nn.ReLU()), (1, 8, 8))


def test_the_figure_of_distill() -> None:
    fields = receptive_field(chain(conv(3, 3, 1), conv(2)), (1, 12, 12))
    assert fields["1"].region(0) == (-1, 4) and fields["0"].region(0) == (-1, 1)


@pytest.mark.parametrize(
    ("layers", "size", "expected"),
    [
        # Fangyh09/pytorch-receptive-field, README: 7, 11, 19
        ((conv(7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1)), (1, 256, 256), (19, 8, 9)),
        # shelfwise/receptivefield, README, by gradients
        ((conv(7), conv(5), nn.AvgPool2d(2), conv(5)), (1, 64, 64), (20, 2, 0)),
        ((conv(3), conv(3), nn.AvgPool2d(2), conv(3), conv(3)), (1, 96, 96), (14, 2, 0)),
        (
            (conv(3), conv(3), nn.AvgPool2d(2), conv(3), conv(3), nn.AvgPool2d(2), conv(3), conv(3)),
            (1, 96, 96),
            (32, 4, 0),
        ),
        ((conv(3), conv(3), nn.AvgPool2d(2)), (1, 96, 96), (6, 2, 0)),
        # rogertrullo/Receptive-Field-in-Pytorch, notebook, by gradients
        (tuple(conv(k) for k in (9, 3, 3, 3, 9, 3, 3, 7, 3)), (1, 64, 64), (35, 1, 0)),
        # Yu and Koltun 2016, arXiv:1511.07122: 2^(i+2) - 1 after i + 1 layers
        (tuple(conv(3, dilation=2**i) for i in range(4)), (1, 64, 64), (31, 1, 0)),
        # Fangyh09, 3-d example: 3, then 4 of stride 2
        ((nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1), nn.MaxPool3d(2, 2, 1)), (1, 16, 16, 16), (4, 2, 2)),
    ],
)
def test_figures_of_others(layers: tuple[nn.Module, ...], size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert last(chain(*layers), size) == expected


def phases(x: Tensor) -> list[Tensor]:
    """Every second row and column, four times: all of the map."""
    return [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]


def phases_in_pieces(net: Function, x: Tensor) -> Tensor:
    """The same, written into one tensor."""
    out = torch.zeros(x.shape[0], 4, x.shape[2] // 2, x.shape[3] // 2)
    for channel, phase in enumerate(phases(x)):
        out[:, channel : channel + 1] = phase
    return net.a(out)


def halves(net: Function, x: Tensor) -> Tensor:
    """Two halves of the channels, treated differently, written into one tensor piece by piece."""
    first, second = net.widen(x).chunk(2, dim=1)
    out = torch.zeros_like(torch.cat([first, second], 1))
    out[:, : first.shape[1]] += net.big(first)
    out[:, first.shape[1] :] = net.small(second)
    return out


def framed(net: Function, x: Tensor) -> Tensor:
    """Padding by hand: written into the middle of zeros."""
    out = torch.zeros(x.shape[0], x.shape[1], x.shape[2] + 3, x.shape[3] + 3)
    out[:, :, 2:-1, 2:-1] = x
    return net.conv(out)


def late_view(net: Function, x: Tensor) -> Tensor:
    """A view that is taken, and read, before its source is written."""
    y = x * 1
    rows = y.permute(0, 2, 3, 1)
    _ = rows.exp()
    y += F.pad(F.avg_pool2d(x, 5, 1), (2, 2, 2, 2))
    return (rows * 1).permute(0, 3, 1, 2)


def twice(net: Function, x: Tensor) -> Tensor:
    return net.conv(net.conv(x))


WIDE = nn.Conv2d(1, 4, 1)
NETS: dict[str, nn.Module] = {
    "dilated": chain(conv(3, padding=2, dilation=2), conv(3, 2, dilation=3)),
    "even": chain(conv(4, 2, 1), conv(2, 1, 1)),
    "stride above the kernel": chain(conv(2, 3), conv(1, 2)),
    "same": chain(conv(5, padding="same"), conv(3, padding="same", dilation=2)),
    "reflected": conv(5, padding=2, padding_mode="zeros"),
    "max pools": chain(conv(3, 1, 1), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 2, ceil_mode=True)),
    "dilated pool": nn.MaxPool2d(3, 1, 1, dilation=2),
    "average pools": chain(nn.AvgPool2d(3, 2, 1), conv(3), nn.AvgPool2d(2, ceil_mode=True)),
    "lp pool": chain(nn.LPPool2d(2, 3, 2), conv(2)),
    "adaptive pool": chain(conv(3, 1, 1), nn.AdaptiveAvgPool2d(8), nn.AdaptiveMaxPool2d(4)),
    "strided slice": Function(lambda net, x: net.conv(x[:, :, 1::2, 1::2])[:, :, 1:], conv=conv(3)),
    "negative slice": Function(lambda net, x: x[:, :, -9:-2, -9:-2]),
    "option A": Join(conv(3, 2, 1), Function(lambda _, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 0)))),
    "asymmetric pad": chain(nn.ZeroPad2d((2, 1, 2, 1)), conv(3), nn.ZeroPad2d((-1, 0, -1, 0)), conv(3, 2)),
    "framed": Function(framed, conv=conv(3)),
    "channels last": Function(
        lambda net, x: net.fc(net.norm(net.conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        conv=nn.Conv2d(1, 2, 5, 2),
        norm=nn.LayerNorm(2),
        fc=nn.Linear(2, 3),
    ),
    "as one row": Function(lambda net, x: net.conv(x).flatten(2).unflatten(2, (7, 7)) * 2, conv=conv(3, 2)),
    "concatenated": Function(lambda net, x: torch.cat([net.a(x), x, net.b(x)], 1), a=conv(5, 1, 2), b=conv(3, 1, 1)),
    "branches": Join(chain(conv(3, 2, 1), conv(3, 1, 1)), chain(nn.AvgPool2d(3, 2, 1), conv(1))),
    "product": Function(lambda net, x: net.a(x) * net.b(x).sigmoid(), a=conv(3, 1, 1), b=conv(5, 1, 2)),
    "shared": Function(twice, conv=conv(3, 1, 1)),
    "groups": chain(WIDE, nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 3, groups=2)),
    "channel shuffle": chain(WIDE, nn.Conv2d(4, 4, 3), nn.ChannelShuffle(2)),
    "shuffle by hand": Function(
        lambda net, x: net.a(x).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2), a=nn.Conv2d(1, 4, 3)
    ),
    "picked channels": Function(lambda net, x: net.a(x)[:, [2, 0]].flip(1), a=nn.Conv2d(1, 4, 3)),
    "written in pieces": Function(
        halves, widen=WIDE, big=nn.Conv2d(2, 2, 5, padding=2), small=nn.Conv2d(2, 2, 3, padding=1)
    ),
    "written behind a view": Function(late_view),
    "in place": chain(conv(3), nn.ReLU(inplace=True), nn.Hardswish(inplace=True), nn.BatchNorm2d(1), nn.SiLU(True)),
    "split": Function(lambda net, x: sum(net.a(part) for part in net.w(x).split(1, dim=1)), a=conv(3), w=WIDE),
    "transposed of stride 1": nn.ConvTranspose2d(1, 1, 3, padding=1, dilation=2),
    "unfolded": Function(lambda net, x: F.unfold(x, 3, stride=2, padding=1).unflatten(2, (8, 8))),
    "windows of a tensor": Function(lambda net, x: x.unfold(2, 4, 3).unfold(3, 4, 3).sum((-1, -2))),
    "pixels to channels": chain(conv(3, 1, 1), nn.PixelUnshuffle(2), nn.Conv2d(4, 1, 3)),
    "focus": Function(lambda net, x: net.a(torch.cat(phases(net.b(x)), 1)), a=nn.Conv2d(4, 1, 3), b=conv(3, 1, 1)),
    "merged patches": Function(
        lambda net, x: net.a(torch.cat([phase.permute(0, 2, 3, 1) for phase in phases(x)], -1)).permute(0, 3, 1, 2),
        a=nn.Linear(4, 2),
    ),
    "sum of phases": Function(lambda net, x: sum(phase.relu() for phase in phases(net.a(x))), a=conv(5, 1, 2)),
    "three phases": Function(lambda _, x: torch.cat([x[..., i:15:3, j:15:3] for i in range(3) for j in range(3)], 1)),
    "phases of phases": Function(lambda _, x: torch.cat(phases(torch.cat(phases(x), 1)), 1)),
    "phases in pieces": Function(phases_in_pieces, a=nn.Conv2d(4, 1, 3)),
    "blocks by a view": Function(lambda net, x: x.unflatten(2, (8, 2)).unflatten(4, (8, 2)).amax((3, 5))),
    "smaller by nearest": Function(lambda net, x: net.a(F.interpolate(x, scale_factor=0.5)), a=conv(3)),
    "smaller by exact nearest": Function(lambda net, x: F.interpolate(x, scale_factor=0.25, mode="nearest-exact")),
    "smaller by bilinear": Function(lambda net, x: F.interpolate(x, scale_factor=0.25, mode="bilinear")),
    "smaller by bicubic": Function(lambda net, x: F.interpolate(x, scale_factor=0.5, mode="bicubic")),
    "same size": Function(lambda net, x: F.interpolate(net.a(x), size=(14, 14), mode="bilinear"), a=conv(3)),
    "local response norm": chain(WIDE, nn.LocalResponseNorm(3), nn.Conv2d(4, 1, 3)),
    "blown up and back": Function(
        lambda net, x: net.a(x).repeat(1, 3, 1, 1).expand(2, -1, -1, -1).mean(1, True), a=conv(3)
    ),
    "stacked": Function(
        lambda net, x: torch.stack([net.a(x), net.b(x)], 2).squeeze(1).amax(1, True), a=conv(3), b=conv(3)
    ),
    "squeezed": Function(lambda net, x: net.a(x).squeeze(1).unsqueeze(1).transpose(2, 3).mT, a=conv(3)),
    "laid in a frame": Function(lambda net, x: net.a(torch.cat([torch.zeros(1, 1, 2, 16), x], 2)), a=conv(3, 2)),
}


# Not every row between the first and the last counts (dilation, rows that are left out), or the border has fewer.
WITH_GAPS = ["dilated", "dilated pool", "same", "stride above the kernel", "strided slice", "transposed of stride 1"]
WITH_GAPS += ["smaller by nearest", "smaller by exact nearest", "written behind a view"]


@pytest.mark.parametrize("name", NETS)
def test_a_unit_depends_on_the_rows_of_its_field_and_on_no_others(name: str) -> None:
    """The oracle is a NaN in one row of the picture after another, which runs to wherever it counts."""
    net, side = positive(NETS[name]).eval(), 16
    for axis, word in enumerate(("height", "width")):
        field = ReceptiveField(*last(net, (1, side, side), word))
        size = record(net, (1, side, side)).calls[0].outputs[0].shape[axis + 2]
        reached = [rows_that_depend_on(net, (1, side, side), axis, place) for place in range(side)]
        num_inside = 0
        for unit in range(size):
            first, end = field.region(unit)
            seen = [place for place in range(side) if unit in reached[place]]
            if name in WITH_GAPS:
                assert all(first <= place <= end for place in seen), (word, unit)
            else:
                assert seen == [place for place in range(side) if first <= place <= end], (word, unit)
            if first >= 0 and end < side:
                assert (seen[0], seen[-1]) == (first, end), (word, unit)
                num_inside += 1
        assert num_inside


@pytest.mark.parametrize(
    "layer", [conv(3, 1, 1), conv(5, 2, 2), conv(3, 1, (2, 1), dilation=(2, 1)), conv(4, 2, (3, 1))]
)
def test_a_wrapped_frame_counts_as_one_of_zeros_does(layer: nn.Conv2d) -> None:
    sides = (layer.kernel_size, layer.stride, layer.padding)
    wrapped = conv(*sides, dilation=layer.dilation, padding_mode="circular")  # type: ignore[arg-type]
    for axis in ("height", "width"):
        assert last(chain(wrapped, nn.ReLU()), axis=axis) == last(chain(layer, nn.ReLU()), axis=axis)
    assert receptive_field(Join(wrapped, layer), (1, 16, 16), axis="height")  # and paths fit together


def shifted_in_place(_: Function, x: Tensor) -> Tensor:
    """All but one column move by one: that is no frame."""
    out = torch.zeros(x.shape)
    out[:] = x
    out[..., 1:] = out[..., :-1]
    return out


@pytest.mark.parametrize(
    "net",
    [
        Function(lambda net, x: torch.cat([net.a(x)[..., ::2], net.b(x)[..., 1::2]], 1), a=conv(3), b=conv(3)),
        Function(lambda net, x: torch.cat([x[..., :-2:2], x[..., 2::2]], 1)),  # not of one and the same block
        Function(lambda net, x: torch.cat([net.a(x[..., ::2]), x[..., 1::2]], 1), a=conv(3, 1, 1)),
        Function(lambda net, x: x[..., :-1] + x[..., 1:]),
        Function(lambda net, x: x[..., ::2] + net.a(x), a=conv((1, 2), (1, 2))),
        Function(shifted_in_place),
    ],
    ids=["two maps", "two blocks", "one phase looks wider", "no phases", "phase and window", "shifted in place"],
)
def test_what_is_no_phase_and_no_frame_has_to_fit(net: nn.Module) -> None:
    with pytest.raises(ShapeError, match=r"^Function: two paths whose first units look at pixels .* shifted against"):
        receptive_field(net, (1, 16, 16))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_interpolation_to_a_smaller_map_looks_at_the_middle(mode: str, factor: int) -> None:
    """By the gradient: torch multiplies the neighbours of a middle pixel by 0, which a NaN would survive."""
    side = 4 * factor
    net = Function(lambda _, x: F.interpolate(x, scale_factor=1 / factor, mode=mode, recompute_scale_factor=True))
    field = ReceptiveField(*last(net, (1, side, side)))
    images = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(images)[0, 0, 2, 2], images)
    seen = gradient[0, 0].any(dim=1).nonzero().flatten().tolist()
    assert (seen[0], seen[-1]) == field.region(2)


@pytest.mark.parametrize(
    ("net", "gates"),
    [
        (chain(WIDE, nn.Conv2d(4, 4, 3), Gate(4), nn.Conv2d(4, 1, 3)), ["2"]),
        (Function(lambda net, x: net.a(x) / net.a(x).norm(dim=(2, 3), keepdim=True), a=conv(5)), ["Function"]),
        (chain(conv(5), nn.GroupNorm(1, 1)), ["1"]),
        (chain(conv(5), nn.LayerNorm([1, 12, 12])), ["1"]),
        (Function(lambda net, x: net.a(x) * net.a(x).mean(2, True).tanh(), a=conv(5)), ["Function"]),
    ],
    ids=["squeeze and excitation", "division", "group norm", "layer norm on the map", "gate along one axis"],
)
def test_gates_and_statistics_do_not_count_and_are_marked(net: nn.Module, gates: list[str]) -> None:
    fields = follow(record(net, (1, 16, 16)))
    assert fields.gated == gates
    assert all(field == ReceptiveField(5, 1, 0) for field in list(fields.by_name().values())[-1].values())


def test_batch_norm_and_layer_norm_of_channels_are_no_gates() -> None:
    for net in (chain(conv(3), nn.BatchNorm2d(1)), NETS["channels last"]):
        assert follow(record(net, (1, 16, 16))).gated == []


@pytest.mark.parametrize(
    "end",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d(1),
        Function(lambda _, x: x.mean((2, 3), keepdim=True)),
        Function(lambda _, x: x.flatten(2).amax(2)),
        Function(lambda _, x: x + x.mean((2, 3), keepdim=True)),  # a sum is no gate
        Function(lambda net, x: net.fc(x.flatten(1)), fc=nn.Linear(196, 3)),
        Function(lambda net, x: net.fc(x.flatten(2)).unflatten(2, (14, 14)), fc=nn.Linear(196, 196)),
        Function(lambda _, x: (x.flatten(2).mT @ x.flatten(2)).softmax(-1) @ x.flatten(2).mT),
        Function(lambda _, x: x.flatten(2).softmax(-1)),
        Function(lambda _, x: x * x.flatten(2).softmax(-1).view_as(x)),  # a gate of its own for each place
        Function(lambda _, x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1)),
    ],
    ids=["avg", "max", "mean", "amax", "sum", "dense", "mixer", "attention", "softmax", "places", "pyramid"],
)
def test_what_sees_everything_has_no_size(end: nn.Module) -> None:
    net = chain(conv(3), end, nn.Identity())
    fields = follow(record(net, (1, 16, 16)))
    assert list(receptive_field(net, (1, 16, 16))) == ["0"]
    assert all(set(sight.whole) == {0, 1} for index in (2, 3) for sight in fields.sights[index])


def test_dense_layers_and_attention_weigh_places_one_by_one() -> None:
    for end, mixed in ((nn.Linear(196, 3), ["2"]), (nn.Identity(), [])):
        assert follow(record(chain(conv(3), nn.Flatten(), end), (1, 16, 16))).mixed == mixed


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (nn.Upsample(scale_factor=2), "upsample_nearest2d makes units whose fields are no even step apart"),
        (nn.ConvTranspose2d(1, 1, 2, stride=2), "convolution makes units whose fields are no even step apart"),
        (nn.AdaptiveAvgPool2d(5), "_adaptive_avg_pool2d makes units whose fields are no even step apart"),
        (Function(lambda _, x: x.flip(2)), "flip changes the order of the map"),
        (Function(lambda _, x: x.roll((1, 1), (2, 3))), "roll changes the order of the map"),
        (Function(lambda _, x: torch.cat([x, x], 3)), "maps were laid side by side"),
        (Function(lambda _, x: x.repeat(1, 1, 2, 2)), "the map is repeated"),
        (Function(lambda _, x: x[:, :, 3]), "one row or column was taken out"),
        (Function(lambda _, x: x[:, :, [3, 1]]), "single places of the map were picked out"),
        (Function(lambda _, x: x.sort(2)[0]), "there is no rule for sort"),
        (Function(lambda _, x: F.conv1d(x.flatten(2), torch.ones(1, 1, 3))), "convolution goes over a flattened map"),
        (Function(lambda _, x: x[:, :, :1, :1] + x), "a map of one unit is spread over a larger one"),
        (Function(lambda _, x: x + x.mT), "maps of different layouts are combined"),
        (
            Function(lambda _, x: x.unflatten(2, (2, 7)).flatten(3).unflatten(2, (2,))[..., 1:]),
            "a flattened map was cut",
        ),
    ],
)
def test_where_no_one_field_holds_for_all_units_there_is_none_and_a_reason(end: nn.Module, reason: str) -> None:
    net = chain(conv(3), end, nn.Identity())
    assert list(receptive_field(net, (1, 16, 16))) == ["0"]
    assert reason in {r for sight in follow(record(net, (1, 16, 16))).sights[3] for r in sight.lost.values()}


def test_layers_are_named_in_the_order_in_which_they_end_and_stages_too() -> None:
    fields = receptive_field(Staged(), (3, 16, 16))
    assert {name: astuple(field) for name, field in fields.items()} == {
        "conv": (3, 2, 1),
        "relu": (3, 2, 1),
        "stem": (3, 2, 1),
        "blocks.0": (7, 2, 3),
        "blocks.1": (7, 2, 3),
        "blocks": (7, 2, 3),
        "body": (7, 2, 3),
    }
    assert list(fields) == ["conv", "relu", "stem", "blocks.0", "blocks.1", "blocks", "body"]


def test_of_a_layer_that_runs_twice_the_last_field_counts() -> None:
    net = Function(lambda net, x: net.conv(net.relu(net.conv(x))), conv=conv(3), relu=nn.ReLU())
    assert [(name, field.size_px) for name, field in receptive_field(net, (1, 8, 8)).items()] == [
        ("relu", 3),
        ("conv", 5),
    ]


def test_the_shortest_path_is_followed_when_asked() -> None:
    trace = record(chain(Join(conv(5, 1, 2), conv(3, 1, 1)), nn.ReLU()), (1, 8, 8))
    assert follow(trace).of(4)["height"].size_px == 5
    assert follow(trace, smaller).of(4)["height"].size_px == 3


def test_sounds_and_volumes_have_axes_too() -> None:
    assert last(nn.Conv1d(2, 3, 5, 2), (2, 30)) == (5, 2, 0)
    assert last(chain(nn.Conv1d(2, 2, 3), nn.MaxPool1d(2)), (2, 30)) == (4, 2, 0)
    assert last(nn.Conv3d(1, 1, (3, 1, 1)), (1, 8, 8, 8), "depth") == (3, 1, 0)
    assert axes_of((7,)) == () and receptive_field(nn.Linear(7, 2), (7,)) == {}


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^axis is 'hight'\. Nearest: height.* Leave it out where all are the same\.$"
    ):
        receptive_field(conv(3), (1, 8, 8), axis="hight")


def test_a_map_that_becomes_one_unit_long_still_has_a_field() -> None:
    assert last(chain(conv(3, 2, 1), conv(3, 2, 1)), (1, 2, 2)) == (7, 4, 3)
    assert last(Join(conv(3, 2, 1), Function(lambda net, x: net.a(x), a=conv(1, 2))), (1, 2, 2)) == (3, 2, 1)
    gated = chain(nn.Conv2d(1, 4, 3, 2, 1), Gate(4))
    assert last(gated, (1, 2, 2)) == (3, 2, 1)


def test_channel_attention_without_its_sigmoid_is_a_gate_but_its_sum_is_not() -> None:
    sums = Function(lambda net, x: net.a(x) - net.a(x).mean((2, 3), keepdim=True), a=conv(3))
    assert receptive_field(chain(sums, nn.ReLU()), (1, 8, 8)) == {"0.a": ReceptiveField(3, 1, 0)}


DATA = Path(__file__).parents[1] / "paper" / "data" / "receptive_fields.json"


def test_the_published_traces_are_whole() -> None:
    networks = json.loads(DATA.read_text())["networks"]
    assert len(networks) == 19 and sum(len(each["trace"]) for each in networks.values()) == 597


def test_a_global_pool_after_channels_last_sees_everything() -> None:
    """There torch ends the pool by setting the strides of the result in place."""

    class ChannelsLast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    for between in (nn.Identity(), ChannelsLast()):
        net = nn.Sequential(nn.Conv2d(3, 8, 3), between, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        assert [row.name for row in inspect(net, (3, 16, 16)).rows if row.is_whole] == ["", "2", "3", "4"]


def test_a_shape_that_is_changed_in_place_is_followed() -> None:
    between = Function(lambda _, x: x.transpose_(2, 3))
    net = nn.Sequential(nn.Conv2d(3, 3, 3), between, nn.Conv2d(3, 3, 3))
    assert receptive_field(net, (3, 16, 16))["2"].size_px == 5


def test_a_network_may_be_named() -> None:
    assert receptive_field("torch.nn:Identity", (3, 8, 8)) == receptive_field(nn.Identity(), (3, 8, 8))
    with pytest.raises(ConfigError, match=r"^'resnet50' names no network\."):
        receptive_field("resnet50")
