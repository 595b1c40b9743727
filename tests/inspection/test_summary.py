"""The figures of a summary, against sums by hand, torch's own counter, and what really happens."""

import json
from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sightline.errors import ConfigError, ShapeError
from sightline.inspection import Row, Summary, inspect
from sightline.inspection.costs import Window
from sightline.models import zoo
from tests.paper.costs import multiplications, parameters

from .nets import Function, Gate, Staged, chain, conv
from .test_trace import kept_for_real

BATCHES = {
    "weights alone": Function(
        lambda net, x: F.linear(x, net.a.weight @ net.b.weight), a=nn.Linear(8, 4), b=nn.Linear(64, 8)
    ),
    "pictures among themselves": Function(lambda net, x: (x @ x.mT) @ x),
    "pictures with weights": chain(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_the_work_for_one_picture_is_the_same_in_every_batch(name: str) -> None:
    summaries = [inspect(BATCHES[name], (64,), batch_size=count) for count in (1, 7, 64)]
    counter = FlopCounterMode(display=False)
    with counter:
        BATCHES[name](torch.zeros(1, 64))
    for summary in summaries:
        assert [row.macs for row in summary.rows] == [row.macs for row in summaries[0].rows]
        assert 2 * summary.macs == counter.get_total_flops()


def test_a_network_that_takes_no_single_picture_shares_its_work_out() -> None:
    pairs = Function(lambda net, x: net.fc(x.view(2, -1)), fc=nn.Linear(12, 3))
    assert inspect(pairs, (6,), batch_size=4).macs == 2 * 12 * 3 // 4


ZOO = ["simple_cnn", "lenet5", "resnet20", "resnet18", "googlenet", "densenet40_k12", "mobilenet_v2", "convnext_tiny"]
ZOO += ["efficientnet_b0", "alexnet_2012", "airbench94"]


def outline(name: str) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name)


def rows_by_name(summary: Summary) -> dict[str, Row]:
    return {row.name: row for row in summary.rows}


@pytest.mark.parametrize("name", ZOO)
def test_counts_are_those_of_the_layers_and_of_torchs_own_counter(name: str) -> None:
    net, size = outline(name), zoo.ZOO[name].input_size
    summary = inspect(net, size)
    assert summary.parameters == sum(row.parameters for row in summary.rows) == parameters(net)
    assert summary.macs == sum(row.macs for row in summary.rows) == multiplications(net, size)
    counter = FlopCounterMode(display=False)
    with counter:
        net.eval()(torch.zeros(1, *size, device="meta"))
    assert 2 * summary.macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("net", "size", "macs"),
    [
        (nn.Conv2d(6, 4, 3, groups=2, stride=2), (6, 9, 9), 4 * 4 * 4 * 3 * 9),
        (nn.ConvTranspose2d(6, 4, 3, groups=2, stride=2), (6, 5, 5), 25 * 6 * 2 * 9),
        (nn.Conv1d(2, 3, 5), (2, 10), 6 * 3 * 2 * 5),
        (nn.Conv3d(1, 2, 3), (1, 4, 4, 4), 8 * 2 * 27),
        (nn.Linear(5, 7), (5,), 35),
        (nn.Linear(5, 7, bias=False), (3, 5), 3 * 35),
        (Function(lambda _, x: x @ x.mT), (2, 3, 4), 2 * 3 * 4 * 3),
        (Function(lambda _, x: torch.einsum("ncl,nkl->nck", x, x)), (3, 4), 3 * 4 * 3),
        (Function(lambda _, x: x * x + x.sum()), (3, 4), 0),
        (nn.BatchNorm2d(3), (3, 4, 4), 0),
        (nn.MaxPool2d(2), (3, 4, 4), 0),
    ],
)
def test_multiplications_by_hand(net: nn.Module, size: tuple[int, ...], macs: int) -> None:
    assert inspect(net, size).macs == macs
    assert inspect(net, size, batch_size=3).macs == macs  # of one picture, whatever the batch


@pytest.mark.parametrize("name", ["simple_cnn", "lenet5", "resnet20", "densenet40_k12"])
def test_what_training_keeps_is_what_a_real_step_keeps(name: str) -> None:
    net, size = zoo.build(name), zoo.ZOO[name].input_size
    assert inspect(net, size, batch_size=4).kept_bytes == kept_for_real(net, torch.randn(4, *size))


def test_recomputation_shows_as_memory_that_is_not_kept() -> None:
    with torch.device("meta"):
        plain, sparing = (zoo.build("densenet121", memory_efficient=value) for value in (False, True))
    kept = [inspect(net, (3, 64, 64), batch_size=2).kept_bytes or 0 for net in (plain, sparing)]
    assert 0 < kept[1] < 0.5 * kept[0]


def test_outputs_by_hand() -> None:
    net = chain(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    summary = inspect(net, (3, 8, 8), batch_size=2)
    maps, pooled = 2 * 4 * 64 * 4, 2 * 4 * 16 * 4
    assert [row.output_bytes for row in summary.rows] == [0, maps, maps, 0, pooled, 0]  # in place and views take none
    assert summary.output_bytes == 2 * maps + pooled
    # the convolution keeps the picture, the norm its input and two numbers a channel, ReLU its output, the pool indices
    kept = [0, 2 * 3 * 64 * 4, maps + 2 * 4 * 4, maps, 2 * pooled, 0]
    assert [row.kept_bytes for row in summary.rows] == kept and summary.kept_bytes == sum(kept)


def test_rows_say_what_each_layer_is_and_does() -> None:
    summary = inspect(Staged(), (3, 16, 16))
    assert [(row.name, row.kind, row.stage, row.depth, row.output_shape, row.parameters) for row in summary.rows] == [
        ("", "Staged", "", 0, (2,), 0),
        ("stem", "stage", "stem", 1, (4, 8, 8), 0),
        ("conv", "Conv2d", "", 2, (4, 8, 8), 112),
        ("relu", "ReLU", "", 2, (4, 8, 8), 0),
        ("blocks", "Sequential", "body", 1, (8, 8, 8), 0),
        ("blocks.0", "Conv2d", "", 2, (8, 8, 8), 296),
        ("blocks.1", "ReLU", "", 2, (8, 8, 8), 0),
        ("head", "stage", "head", 1, (2,), 0),
        ("fc", "Linear", "", 2, (2,), 18),
    ]
    rows = rows_by_name(summary)
    assert rows["conv"].window == Window((3, 3), (2, 2), (1, 1), (1, 1), 1)
    assert rows["blocks.0"].field["height"].size_px == 7 and not rows["blocks.0"].is_whole
    assert rows["fc"].is_whole and rows["head"].is_whole and not rows["fc"].field
    assert (summary.field["width"].size_px, summary.field_at) == (7, "body")
    assert (summary.trained_parameters, summary.parameter_bytes, summary.net) == (426, 426 * 4, "Staged")


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(4, 4, 3), "3x3"),
        (nn.Conv2d(4, 4, (1, 7), stride=2, padding=(0, 3)), "1x7/2 p0,3"),
        (nn.Conv2d(4, 4, 3, dilation=2, padding="same", groups=4), "3x3 p2 d2 g4"),
        (nn.MaxPool2d(3, 2, 1), "3x3/2 p1"),
        (nn.AvgPool2d(2), "2x2/2"),
        (nn.Conv1d(4, 4, 5), "5"),
        (nn.ReLU(), "None"),
    ],
)
def test_windows_as_they_ran(layer: nn.Module, text: str) -> None:
    size = (4, 9) if isinstance(layer, nn.Conv1d) else (4, 9, 9)
    assert str(rows_by_name(inspect(chain(layer), size))["0"].window) == text


def test_a_row_with_several_windows_shows_none() -> None:
    net = Function(lambda _, x: F.max_pool2d(F.avg_pool2d(x, 2), 3))
    assert inspect(net, (1, 12, 12)).rows[0].window is None


def test_every_parameter_is_in_one_row_shared_ones_in_the_first() -> None:
    shared = chain(nn.Linear(3, 3), nn.Linear(3, 3))
    shared[1].weight = shared[0].weight
    assert [row.parameters for row in inspect(shared, (3,)).rows] == [0, 12, 3]
    twice = Function(lambda net, x: net.fc(net.fc(x)), fc=nn.Linear(3, 3))
    assert [(row.name, row.parameters, row.macs) for row in inspect(twice, (3,)).rows] == [
        ("", 0, 0),
        ("fc", 12, 9),
        ("fc", 0, 9),
    ]
    attention = Function(lambda net, x: net.mha(x, x, x)[0], mha=nn.MultiheadAttention(4, 2, batch_first=True))
    # the projection behind the heads does not run as a layer: its numbers are the attention's
    assert rows_by_name(inspect(attention, (5, 4)))["mha"].parameters == 80
    idle = Function(lambda net, x: net.a(x), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    assert [row.parameters for row in inspect(idle, (3,)).rows] == [12, 12]


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_folding_keeps_every_sum(name: str) -> None:
    summary = inspect(outline(name), (3, 64, 64))
    deepest = max(row.depth for row in summary.rows)
    assert summary.folded(deepest) == summary.rows
    for depth in range(deepest + 1):
        rows = summary.folded(depth)
        assert max(row.depth for row in rows) == depth
        for figure in ("parameters", "macs", "output_bytes", "kept_bytes"):
            assert sum(getattr(row, figure) for row in rows) == sum(getattr(row, figure) for row in summary.rows)
    stages = {row.name: row.parameters for row in summary.folded(1)}
    if name == "resnet18":
        net = zoo.build(name)
        assert stages["layer3"] == sum(p.numel() for p in net.layer3.parameters())
        assert stages["stem"] == 9408 + 128


def test_the_dictionary_is_plain_json_with_everything() -> None:
    summary = inspect(outline("resnet20"), (3, 32, 32), batch_size=2)
    found = json.loads(json.dumps(summary.to_dict()))
    assert (found["parameters"], found["macs"], found["batch_size"], found["timing"]) == (
        272474 - 2752,
        40551040,
        2,
        None,
    )
    first = next(row for row in found["rows"] if row["name"] == "conv1")
    assert first == {
        "name": "conv1",
        "kind": "Conv2d",
        "stage": "",
        "depth": 2,
        "kernel": [3, 3],
        "stride": [1, 1],
        "padding": [1, 1],
        "dilation": [1, 1],
        "groups": 1,
        "output_shape": [16, 32, 32],
        "parameters": 432,
        "macs": 442368,
        "output_bytes": 131072,
        "kept_bytes": 24576,
        "field": {axis: {"size_px": 3, "stride_px": 1, "padding_px": 1} for axis in ("height", "width")},
        "is_whole": False,
        "time_s": None,
        "gflops": None,
    }
    assert found["field"]["height"]["size_px"] == 81 and found["field_at"] == "layer3"
    assert found["findings"] == []


def test_times_are_of_the_real_weights_and_leave_them_alone() -> None:
    net = zoo.build("resnet20").train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    summary = inspect(net, (3, 32, 32), batch_size=2, time=True)
    assert summary.timing is not None and summary.timing.forward_s > 0 and summary.timing.device.startswith("cpu, ")
    times = [row.time_s or 0.0 for row in summary.rows]
    assert all(time >= 0 for time in times) and sum(times) > 0
    row = rows_by_name(summary)["layer1.0.conv1"]
    assert summary.gflops(row) == pytest.approx(2 * row.macs * 2 / (row.time_s or 0) / 1e9)
    assert summary.gflops(rows_by_name(summary)["relu"]) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training and summary.to_dict()["timing"].keys() == {"device", "forward_s"}
    assert summary.folded(0)[0].time_s == pytest.approx(sum(times))


def test_nothing_is_timed_and_no_weight_is_run_unless_asked() -> None:
    calls = []

    class Spying(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append((x.is_meta, self.weight.is_meta))
            return super().forward(x)

    net = chain(Spying(3, 3))
    summary = inspect(net, (3,))
    assert set(calls) == {(True, True)} and summary.timing is None and summary.rows[0].time_s is None
    inspect(net, (3,), time=True)
    assert (False, False) in calls


def test_a_network_that_cannot_train_on_such_a_batch_is_still_shown() -> None:
    net = chain(conv(3, 2, 1), nn.BatchNorm2d(1))
    alone = inspect(net, (1, 2, 2))
    assert alone.kept_bytes is None and {row.kept_bytes for row in alone.rows} == {None}
    assert [finding.rule for finding in alone.findings] == ["lonely-batch-norm", "dead-bias"]
    assert "a training step on this batch fails" in str(alone)
    assert inspect(net, (1, 2, 2), batch_size=2).kept_bytes is not None


def test_layers_that_run_in_training_alone_count_for_what_is_around_them() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.noise(x) * x if self.training else x

    summary = inspect(Function(lambda net, x: net.b(net.a(x)), a=nn.Linear(3, 3), b=Noisy()), (3,))
    assert [row.name for row in summary.rows] == ["", "a", "b"]
    assert [row.kept_bytes for row in summary.rows] == [0, 12, 36]  # the picture; mask, its product, and the input


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "efficientnet_b0", "lenet5"])
def test_the_text_fits_the_line_and_has_the_sums(name: str, width: int) -> None:
    size = zoo.ZOO[name].input_size
    summary = inspect(outline(name), size)
    text = summary.text(width=width)
    assert max(map(len, text.splitlines())) <= width
    assert f"{summary.parameters:,}" in text and f"{summary.macs:,} a picture" in text and "…" not in text
    assert text.splitlines()[0].startswith(f"{name} on {'x'.join(map(str, size))}, batch of 1")
    assert len(text.splitlines()) < 80


def test_the_text_opens_as_deep_as_asked() -> None:
    summary = inspect(outline("resnet18"), (3, 64, 64))
    assert "layer1.0" not in summary.text() and "    conv1 Conv2d" not in summary.text(depth=1)
    assert "80 further rows inside these: --depth 2" in summary.text(depth=1).splitlines()[0]
    assert "\n    conv1 Conv2d  " in summary.text(depth=3)
    assert "further rows" not in summary.text(depth=9)
    assert summary.text(depth=0).count("ResNet") == 1
    gated = inspect(chain(conv(3), nn.Conv2d(1, 4, 1), Gate(4)), (1, 8, 8)).text()
    assert "gates       1 look at the whole map and are left out of the field, by convention" in gated


def test_times_are_shown_with_their_share_and_speed() -> None:
    text = inspect(chain(nn.Conv2d(3, 16, 3), nn.ReLU()), (3, 32, 32), time=True).text()
    header, total = (next(line for line in text.splitlines() if line.startswith(word)) for word in ("layer", "total"))
    assert header.split()[-3:] == ["ms", "share", "GFLOP/s"] and "100%" in total
    assert "GFLOP/s, two operations a MAC" in text


def test_errors_are_the_networks_own() -> None:
    with pytest.raises(ShapeError, match=r"^resnet18 needs images of shape \(N, 3, H, W\), got \(1, 1, 64, 64\)"):
        inspect(outline("resnet18"), (1, 64, 64))
    with pytest.raises(ConfigError, match=r"^batch_size is 0; it must be 1 or more\.$"):
        inspect(conv(3), (1, 8, 8), batch_size=0)
    with pytest.raises(
        ConfigError, match=r"^resnet18 has no weights \(it is on the meta device\), so there is nothing"
    ):
        inspect(outline("resnet18"), (3, 64, 64), time=True)


def test_a_network_of_any_kind_is_summed_up() -> None:
    for net, size in (
        (nn.LSTM(3, 4, batch_first=True), (7, 3)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
        (nn.Identity(), (3, 4, 4)),
    ):
        summary = inspect(net, size)
        assert summary.parameters == sum(p.numel() for p in net.parameters()) == sum(r.parameters for r in summary.rows)
        assert str(summary).splitlines()[0].startswith(type(net).__name__)
    attention = inspect(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8))
    assert attention.macs == 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * prod((5, 5, 8))


def test_a_misaligned_network_is_shown_with_a_finding() -> None:
    net = Function(lambda net, x: net.a(x) + net.b(x), a=conv(3, 2, 1), b=nn.AvgPool2d(2, 2))
    summary = inspect(net, (1, 8, 8))
    assert [finding.rule for finding in summary.findings] == ["shifted-paths"]
    assert summary.rows[0].field == {} and rows_by_name(summary)["a"].field
    assert summary.field_lost == "Function: paths that look at different places meet"
    assert "no field    from here on, Function: paths that look at different places meet" in str(summary)
