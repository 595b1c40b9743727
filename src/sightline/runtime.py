"""The machine, chosen once, printed, and passed down: device, precision, memory layout, threads, allocator."""

import ctypes
import os
import platform
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, cast

# Large CPU tensors then lie in 2 MiB pages. Read by torch at its first allocation, hence before the import.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
from torch import nn

from sightline.errors import ConfigError

Precision = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Runtime:
    """What training runs on.

    Args:
        device: where the tensors lie.
        precision: of the forward and backward pass; weights and optimiser state are float32 in either case.
        threads: CPU threads inside one operation.
        reasons: a sentence for each choice, printed at the start and kept in the bundle.
        compile: whether networks are compiled for training.
    """

    device: torch.device
    precision: Precision
    threads: int
    reasons: tuple[str, ...]
    compile: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last: both oneDNN and cuDNN have their fastest convolutions for it."""
        return torch.channels_last

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the forward pass runs; in float32 it changes nothing (one code path)."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def compiled(self, net: nn.Module) -> nn.Module:
        """The network as the training runs it: compiled, or as it is."""
        return cast(nn.Module, torch.compile(net)) if self.compile else net

    def to_dict(self) -> dict[str, str | int]:
        """The choice as plain JSON, for the bundle's provenance."""
        chosen: dict[str, str | int] = {"device": str(self.device), "precision": self.precision}
        return {**chosen, "threads": self.threads, **({"compile": True} if self.compile else {})}


def choose_runtime(*, device: str | None = None, amp: bool | None = None, threads: int | None = None) -> Runtime:
    """Chooses device, precision and threads from the machine, or takes what was asked for.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.
        amp: True for bfloat16 autocast, False for float32, None for bfloat16 where the hardware has it.
        threads: CPU threads; None takes the cores this process may use.

    Returns:
        The choice with its reasons. Threads and allocator are set as a side effect.

    Raises:
        ConfigError: the device is not known to torch or not on this machine.

    Example:
        >>> choose_runtime(device="cpu", amp=False, threads=1).precision
        'float32'
    """
    chosen = choose_device(device)
    if threads is not None and threads < 1:
        raise ConfigError(
            f"threads is {threads}; give 1 or more, or leave it out for {_cores()}, the cores of this machine."
        )
    number, why_so_many = (threads, "as asked") if threads else _threads()
    torch.set_num_threads(number)
    reasons = [_device_reason(chosen, asked=device is not None)]
    precision, why = _precision(chosen, amp)
    reasons.append(why)
    if chosen.type == "cpu":
        reasons.append(f"{number} threads: {why_so_many}")
        if tune_allocator():
            reasons.append("allocator keeps and reuses large blocks: saves page faults in every step")
    return Runtime(chosen, precision, torch.get_num_threads(), tuple(reasons))


def choose_device(name: str | None = None) -> torch.device:
    """The device of a name, or the accelerator of this machine, or the CPU.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Raises:
        ConfigError: the device is not known to torch or not on this machine.
    """
    if name is None:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}, which torch does not know. Use cpu, cuda, cuda:1 or mps.") from None
    if device.type != "cpu":
        here = torch.accelerator.current_accelerator(check_available=True)
        if here is None or here.type != device.type or (device.index or 0) >= torch.accelerator.device_count():
            raise ConfigError(f"device is {name!r}, and this machine has {here or 'no accelerator'}. Use --device cpu.")
    return device


def tune_allocator() -> bool:
    """Makes glibc keep freed memory instead of giving it back to the system after every step.

    A training step frees and takes the same hundreds of megabytes again and again. By default glibc maps each large
    block anew and the kernel zeroes every page; with this the blocks are reused. The process keeps its peak memory
    until it ends.

    Returns:
        Whether this platform's C library took the settings.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names M_* of malloc.h
    settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _threads() -> tuple[int, str]:
    """How many where none were asked for, and why."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > 1:  # torchrun then sets OMP_NUM_THREADS to 1, whatever the machine
        return max(1, _cores() // processes), f"the cores, shared by {processes} processes"
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked), "OMP_NUM_THREADS"
    return _cores(), "the cores this process may use"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware, as far as that is known.

    Args:
        device: of this machine.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_has_bfloat16()


def environment() -> dict[str, str]:
    """Versions and machine, for the record of a run."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _device_reason(device: torch.device, *, asked: bool) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if asked:
        return f"{name}: as asked"
    return f"{name}: " + (
        "no accelerator that torch can use" if device.type == "cpu" else "the accelerator of this machine"
    )


def _precision(device: torch.device, amp: bool | None) -> tuple[Precision, str]:
    if amp is not None:
        return ("bfloat16" if amp else "float32"), f"{'bfloat16 autocast' if amp else 'float32'}: as asked"
    if has_bfloat16(device):
        this = "CPU" if device.type == "cpu" else "GPU"
        return "bfloat16", f"bfloat16 autocast, channels_last: this {this} multiplies bfloat16 in hardware"
    return "float32", f"float32, channels_last: this {device.type} has no bfloat16 multiplication"


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a kernel file, not a path of ours
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
