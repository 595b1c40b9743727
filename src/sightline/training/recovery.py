"""What sends a run back to its last checkpoint: too little memory, or a loss that is not finite."""

from dataclasses import dataclass

from sightline.errors import TrainingError

_OUT_OF_MEMORY = (  # in the words of CUDA, of cuBLAS and cuDNN, and of torch on CPUs
    "out of memory", "alloc_failed", "can't allocate memory", "not enough memory",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NotFinite:
    """A step whose loss or gradient is not finite.

    Args:
        step: its number, from 0.
        error: what ends the run where it may not go back any more.
    """

    step: int
    error: TrainingError


@dataclass(frozen=True, kw_only=True)
class NoMemory:
    """A step that memory was too small for.

    Args:
        num_pictures: of the micro-batch.
    """

    num_pictures: int


class GoBack(Exception):
    """Ends the step; the loop restores the last checkpoint, takes note, and goes on from there.

    Args:
        setback: why.
    """

    def __init__(self, setback: NotFinite | NoMemory) -> None:
        super().__init__(str(setback))
        self.setback = setback


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of a step means that memory ran out, on whatever device.

    Args:
        error: what was raised.

    Example:
        >>> is_out_of_memory(MemoryError())
        True
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    )
