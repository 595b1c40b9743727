"""Decodes many pictures in processes of little memory, and notes when one hangs, dies or says something.

Reads and sets limits of Linux.
"""

import multiprocessing
import os
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from sightline.data.decode import BadImage, decode, read_header

LIMIT_S = 60  # of the clock, for a picture: twice the processor time that `decode` allows
MEMORY_BYTES = 3 << 30  # of addresses, libraries included: 2 GB for a picture of 100 megapixels, and for hostile tags
Task = tuple[Callable[..., "bytes | Path"], tuple[object, ...]]  # what gives a picture: a function and its arguments


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Args:
        format: by its header; "" where that is refused.
        reason: why `decode` refuses it; "" where it is decoded.
        fault: what no picture may cause; "" where all is well.
        seconds: of `decode` and `read_header` together.
        peak_bytes: the most memory that the process ever had so far.
    """

    format: str
    reason: str
    fault: str
    seconds: float
    peak_bytes: int


def outcomes(tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Decodes pictures one after the other in a child process, and begins another one where it hangs or dies.

    Args:
        tasks: functions and arguments that can be pickled, so that the child makes the pictures.
    """
    done = 0
    context = multiprocessing.get_context("spawn")
    while done < len(tasks):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_decode_all, args=(theirs, tasks[done:]))
        process.start()
        theirs.close()
        fault = ""
        while done < len(tasks) and not fault:
            try:
                if ours.poll(LIMIT_S):
                    yield ours.recv()
                else:
                    fault = f"hangs for more than {LIMIT_S} s"
            except EOFError:
                process.join()
                fault = f"ends the process with {process.exitcode}"
            if fault:
                yield Outcome("", "", fault, 0, 0)
            done += 1
        if process.is_alive() and fault:
            process.kill()
        process.join()


def _decode_all(pipe: Connection, tasks: Sequence[Task]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)  # what the libraries print
        for function, arguments in tasks:
            pipe.send(_outcome(function, arguments, said.fileno()))


def _outcome(function: Callable[..., bytes | Path], arguments: tuple[object, ...], said: int) -> Outcome:
    format, reason, fault = "", "", ""
    began, before = time.perf_counter(), os.fstat(said).st_size
    try:
        source = function(*arguments)
        format, shown = _header(source)
        try:
            pixels = decode(source)
            if shown is None:
                fault = "is decoded, though its header is refused"
            elif format == "PNG" and pixels.shape == (*shown[::-1], 3):
                pass  # an orientation that stands behind the pixels, where a look at the header does not go
            elif pixels.shape != (*shown, 3) or pixels.dtype != "uint8":
                fault = f"is {pixels.dtype} {pixels.shape}, and its header says {shown}"
        except BadImage as bad:
            reason = bad.reason
            fault = "" if reason.strip() else "is refused without a reason"
    except Exception:
        fault = traceback.format_exc()
    if os.fstat(said).st_size > before:
        fault = fault or "makes a library print"
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(format, reason, fault, time.perf_counter() - began, peak_bytes)


def _header(source: bytes | Path) -> tuple[str, tuple[int, int] | None]:
    try:
        header = read_header(source)
    except BadImage as bad:
        if not bad.reason.strip():
            raise RuntimeError("read_header gives no reason") from bad
        return "", None
    return header.format, (header.height, header.width)
