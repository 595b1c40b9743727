"""The time of each layer, measured on this machine."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.inspection.borrow import borrowed, title, watch

WARM_UPS, REPEATS = 2, 7


@dataclass(frozen=True)
class Timing:
    """Measured times of one forward pass in evaluation mode; each figure is the median of several runs.

    Args:
        device: that it ran on, and its threads.
        forward_s: of a whole pass, without clocks in between.
        calls: name and parent of each call, in the order in which they began.
        times_s: of each, without the calls inside it; a little is the measuring's own.
    """

    device: str
    forward_s: float
    calls: tuple[tuple[str, int | None], ...]
    times_s: tuple[float, ...]


def measure(net: nn.Module, input_size: Sequence[int], *, batch_size: int = 1, repeats: int = REPEATS) -> Timing:
    """Runs a network with its real weights on random pictures and times its layers.

    After runs to warm up, the whole pass is timed as it is, and then with a clock at the beginning and the end of each
    layer; on a GPU, whose work is asynchronous, the clock waits for the work to be done.

    Args:
        net: with weights, where it shall run; it is left as it was.
        input_size: of a picture: (channels, height, width).
        batch_size: pictures.
        repeats: runs of each kind.

    Raises:
        ConfigError: the network has no weights.
    """
    weight = next(net.parameters(), torch.empty(0))
    if weight.is_meta:
        raise ConfigError(f"{title(net)} has no weights (it is on the meta device), so there is nothing to time.")
    images = torch.randn(batch_size, *input_size, generator=torch.Generator().manual_seed(0))
    images = images.to(weight.device, weight.dtype if weight.is_floating_point() else torch.float32)
    with borrowed(net), torch.no_grad():
        net.eval()
        for _ in range(WARM_UPS):
            net(images)
        whole = []
        for _ in range(repeats):
            start = _now(weight.device)
            net(images)
            whole.append(_now(weight.device) - start)
        clock = _Clock(weight.device)
        watch(net, clock.enter, clock.leave)
        runs = []
        for _ in range(repeats):
            clock.restart()
            net(images)
            runs.append(clock.times_s)
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' if count > 1 else ''}" if weight.device.type == "cpu" else ""
    return Timing(
        device=f"{weight.device}{threads}",
        forward_s=statistics.median(whole),
        calls=tuple(clock.calls),
        times_s=tuple(statistics.median(times) for times in zip(*runs, strict=True)),
    )


class _Clock:
    """Books the time since the last event to the call that was running."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.restart()

    def restart(self) -> None:
        """A run begins."""
        self.calls: list[tuple[str, int | None]] = []
        self.times_s: list[float] = []
        self._running: list[int] = []
        self._last = _now(self._device)

    def enter(self, name: str, layer: nn.Module | None, stage: str) -> None:
        """A layer begins."""
        self._book()
        parent = self._running[-1] if self._running else None
        self._running.append(len(self.calls))
        self.calls.append((name, parent))
        self.times_s.append(0.0)

    def leave(self, name: str, stage: str, output: Any) -> None:
        """The layer that began last has ended."""
        self._book()
        self._running.pop()

    def _book(self) -> None:
        now = _now(self._device)
        if self._running:
            self.times_s[self._running[-1]] += now - self._last
        self._last = now


def _now(device: torch.device) -> float:
    """The time, once the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
