"""Proves that a run of several processes is the run of one, that it survives its processes, and that they meet.

    python benchmarks/ranks.py [--only equal bundle score kill stop fail nodes namespaces]

On pictures of CIFAR-10, on the CPU (gloo), by torchrun: trainings on 2 and 4 processes against 1 at the same global
batch; the score of 101 pictures on 1, 2 and 4; `sightline train` with a process that is killed, against an undisturbed
one, bit for bit; with torchrun told to stop; a process that fails; two torchruns on this machine, and in two network
namespaces (needs root). Exit code 1 where a row fails.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kills import checkpoints, differences, wait_for
from safetensors.torch import load_file

PICTURES = {"train": 203, "val": 40, "test": 101}
MEMBER = str(Path(__file__).with_name("ranks_member.py"))
LIMIT_S = 300  # a part takes seconds: one that takes this long hangs
SMALL_RUN = [
    "--model", "simple_cnn", "--epochs", "6", "--batch-size", "20", "--checkpoint-every", "0", "--threads", "1",
    "--model-ema", "--model-ema-decay", "0.9", "--sync-bn",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One proof: what was done, what came out, and whether that was promised."""

    what: str
    found: str
    holds: bool


def torchrun(size: int, *arguments: str, options: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """The command that starts so many processes of a script or, with "-m", a module."""
    return [
        sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", str(size), *arguments,
    ]  # fmt: skip


def run(command: list[str], *, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment())
    if done.returncode and not may_fail:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def member(size: int, *arguments: str) -> list[str]:
    return torchrun(size, MEMBER, *arguments) if size > 1 else [sys.executable, MEMBER, *arguments]


def largest_difference(one: Path, other: Path) -> float:
    """Between two files of weights of the same names; of values above 1, as a part of the largest of their tensor."""
    a, b = load_file(one), load_file(other)
    if a.keys() != b.keys():
        raise RuntimeError(f"{one} and {other} hold other names")
    return max(
        ((value.double() - b[name].double()).abs().max() / value.abs().max().double().clamp_min(1)).item()
        for name, value in a.items()
    )


def write_pictures(folder: Path) -> Path:
    """Some pictures of CIFAR-10 as a folder of PNG files, every class in every split."""
    from PIL import Image

    from sightline.data.sources import open_data

    catalog = open_data("cifar10")
    rows = iter(catalog.select("train").tolist())
    for split, count in PICTURES.items():
        for name in catalog.classes:
            (folder / split / name).mkdir(parents=True)
        for index in (next(rows) for _ in range(count)):
            name = catalog.classes[catalog.labels[index]]
            Image.fromarray(catalog.images.read(index)).save(folder / split / name / f"{index:05d}.png")
    return folder


# The proofs


def equal(pictures: Path, folder: Path) -> Iterator[Row]:
    """Trainings on several processes against one."""
    for what, flags, sizes, tolerance in (
        ("no batch norm, float64", ("--net", "lenet5", "--float64"), (2, 4), 1e-12),
        ("synchronised batch norm, float64", ("--float64",), (2, 4), 1e-9),
        # higher rates magnify float32's rounding in each step, between two orders of a batch in one process as well
        ("synchronised batch norm, float32", ("--lr", "0.0005"), (2,), 1e-4),
        ("FSDP, synchronised batch norm, float64", ("--float64", "--fsdp"), (2,), 1e-9),
    ):
        weights = [folder / f"{len(list(folder.iterdir()))}-{size}.safetensors" for size in (1, *sizes)]
        for size, path in zip((1, *sizes), weights, strict=True):
            run(member(size, "train", str(pictures), *flags, "--output", str(path)))
        for size, path in zip(sizes, weights[1:], strict=True):
            found = largest_difference(weights[0], path)
            yield Row(f"{what}: {size} processes against 1", f"weights differ by {found:.1e}", found <= tolerance)


def bundle(pictures: Path, folder: Path) -> Iterator[Row]:
    """`sightline train` to its end on 1 and 2 processes, and with FSDP: the same files."""
    runs = {"1 process": (1, ()), "2 processes": (2, ("--sync-bn",)), "FSDP": (2, ("--sync-bn", "--fsdp"))}
    for name, (size, flags) in runs.items():
        output = folder / f"bundle of {name}"
        whole = (
            "--model",
            "resnet20",
            "--epochs",
            "2",
            "--batch-size",
            "48",
            "--lr",
            "1e-4",
            "--no-amp",
            "--threads",
            "1",
        )
        run(torchrun(size, "-m", "sightline", "train", str(pictures), *whole, *flags, "--output", str(output)))
    first, *others = (folder / f"bundle of {name}" for name in runs)
    for other in others:
        found = largest_difference(first / "model.safetensors", other / "model.safetensors")
        missing = {path.name for path in first.iterdir()} ^ {path.name for path in other.iterdir()}
        missing = {name for name in missing if not name.startswith("events.out")}
        words = f"weights differ by {found:.1e}, " + (f"files by {', '.join(missing)}" if missing else "the same files")
        yield Row(f"float32, {other.name} against that of 1 process", words, found <= 1e-3 and not missing)


def score(pictures: Path, folder: Path) -> Iterator[Row]:
    """101 pictures, which no number of processes divides."""
    scores = {}
    for size in (1, 2, 4):
        path = folder / f"score-{size}.json"
        run(member(size, "evaluate", str(pictures), "--float64", "--output", str(path)))
        scores[size] = json.loads(path.read_text())
    for size in (2, 4):
        counts = {name: scores[size][name] == scores[1][name] for name in ("correct", "count")}
        difference = abs(scores[size]["loss"] - scores[1]["loss"])
        found = f"{scores[size]['correct']:.0f} of {scores[size]['count']:.0f} right, loss differs by {difference:.1e}"
        yield Row(
            f"score of 101 pictures: {size} processes against 1", found, all(counts.values()) and difference < 1e-12
        )


def kill(pictures: Path, folder: Path) -> Iterator[Row]:
    """SIGKILL to a process of `torchrun --max-restarts`, twice."""
    whole = undisturbed(pictures, folder)
    output = folder / "killed"
    command = small_run(pictures, output, "--standalone", "--max-restarts", "3")
    with running(command) as process:
        for rank, step in ((1, 10), (0, 30)):
            wait_for(process, lambda step=step: last_step(output) >= step)
            os.kill(ranks_of(process.pid)[rank], signal.SIGKILL)
            wait_for(process, lambda: len(ranks_of(process.pid)) == 0)
            wait_for(process, lambda: len(ranks_of(process.pid)) == 2)
        process.wait(LIMIT_S)
    found = differences(whole, output)
    words = f"ended with {process.returncode}, " + (f"differs in {', '.join(found)}" if found else "bit-identical")
    yield Row("processes 1 and 0 killed at steps 10 and 30, restarted by torchrun", words, not found)


def stop(pictures: Path, folder: Path) -> Iterator[Row]:
    """SIGTERM to torchrun, and a second run that goes on."""
    whole = undisturbed(pictures, folder)
    output = folder / "stopped"
    reports = 'trap : TERM; "$@"; echo "process $RANK ended with $?"'
    with running(
        small_run(pictures, output, "--standalone", "--no-python", before=("sh", "-c", reports, "sh"))
    ) as process:
        wait_for(process, lambda: last_step(output) >= 10)
        process.terminate()
        said, _ = process.communicate(timeout=LIMIT_S)
    ended = sorted(line for line in said.splitlines() if line.startswith("process "))
    steps = {
        line.partition(" after step ")[2].split(";")[0] for line in said.splitlines() if "stopped by SIGTERM" in line
    }
    holds = ended == ["process 0 ended with 143", "process 1 ended with 143"] and len(steps) == 1
    yield Row("SIGTERM to torchrun", f"{', '.join(ended)}, after step {' and '.join(sorted(steps))}", holds)
    run(torchrun(2, "-m", "sightline", "train", "--resume", str(output)))
    found = differences(whole, output)
    yield Row("the stopped run resumed", ", ".join(found) or "bit-identical", not found)


def fail(pictures: Path, folder: Path) -> Iterator[Row]:
    """An error in one process."""
    began = time.perf_counter()
    command = member(2, "train", str(pictures), "--fails-after", "3", "--output", str(folder / "none"))
    done = run(command, may_fail=True)
    seconds = time.perf_counter() - began
    end = done.stderr.rpartition("Root Cause")[2]
    says = "process 1 of 2: this process was told to fail after step 3." in end
    where = "at" if says else "NOT at"
    found = f"exit code {done.returncode} after {seconds:.0f} s, its message {where} the end of the output"
    yield Row("process 1 fails at step 3", found, says and done.returncode != 0)


def nodes(pictures: Path, folder: Path) -> Iterator[Row]:
    """Two torchruns that meet on this machine; and such a run that loses a process."""
    address = f"localhost:{free_port()}"
    yield from two_agents("two torchruns on one machine", [(), ()], [(), ()], address, pictures, folder)

    whole = undisturbed(pictures, folder)
    output = folder / "nodes"
    address = f"localhost:{free_port()}"
    meeting = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", address, "--rdzv-id", "restart")
    command = small_run(pictures, output, *meeting, "--max-restarts", "3", size=1)
    with running(command) as one, running(command) as other:
        wait_for(one, lambda: last_step(output) >= 10)
        killed = {**ranks_of(one.pid), **ranks_of(other.pid)}[1]
        os.kill(killed, signal.SIGKILL)
        one.communicate(timeout=LIMIT_S)
        other.communicate(timeout=LIMIT_S)
    found = differences(whole, output)
    yield Row("two torchruns, process 1 killed at step 10", ", ".join(found) or "bit-identical", not found)


def namespaces(pictures: Path, folder: Path) -> Iterator[Row]:
    """Two torchruns on two network stacks with a cable between them, as on two machines."""
    names = [f"sightline{os.getpid()}{side}" for side in "ab"]
    links = [f"sl{os.getpid() % 10**6}{side}" for side in "ab"]  # of 15 letters at most
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", "name", links[1], "netns", names[1])
        for number, (name, link) in enumerate(zip(names, links, strict=True), 1):
            ip("-n", name, "addr", "add", f"10.213.7.{number}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        addresses = [f"10.213.7.{number}" for number in (1, 2)]
        inside = [("ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={link}")
                  for name, link in zip(names, links, strict=True)]  # fmt: skip
        # names of this machine say nothing about addresses in a namespace
        says = [("--local-addr", address, "--rdzv-conf", f"is_host={address == addresses[0]}") for address in addresses]
        what = "two torchruns in two network namespaces"
        yield from two_agents(what, inside, says, f"{addresses[0]}:29400", pictures, folder)
    except (OSError, PermissionError) as error:
        yield Row("two torchruns in two network namespaces", f"not possible here: {error}", holds=True)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


PROOFS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    proof.__name__: proof for proof in (equal, bundle, score, kill, stop, fail, nodes, namespaces)
}


# What they are made of


def small_run(pictures: Path, output: Path, *options: str, before: tuple[str, ...] = (), size: int = 2) -> list[str]:
    """`sightline train` on so many processes of a torchrun."""
    python = (sys.executable,) if before else ()
    arguments = [*before, *python, "-m", "sightline", "train", str(pictures), *SMALL_RUN, "--output", str(output)]
    return torchrun(size, *arguments, options=options)


def undisturbed(pictures: Path, folder: Path) -> Path:
    """The small run left alone; made once."""
    output = folder / "whole"
    if not output.exists():
        run(small_run(pictures, output, "--standalone"))
    return output


def two_agents(
    what: str, before: list[tuple[str, ...]], says: list[tuple[str, ...]], address: str, pictures: Path, folder: Path
) -> Iterator[Row]:
    """A process on each of two nodes, against one process."""
    flags = ("train", str(pictures), "--net", "lenet5", "--float64", "--output")
    alone = folder / "alone.safetensors"
    if not alone.exists():
        run(member(1, *flags, str(alone)))
    path = folder / f"{address.replace(':', '-')}.safetensors"
    options = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", address, "--rdzv-id", "proof")
    commands = [
        [*first, *torchrun(1, MEMBER, *flags, str(path), options=(*options, *more))]
        for first, more in zip(before, says, strict=True)
    ]
    agents = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        for command in commands
    ]
    try:
        said = [agent.communicate(timeout=LIMIT_S)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    if any(agent.returncode for agent in agents):
        print("\n".join(said))
        yield Row(what, f"ended with {', '.join(str(agent.returncode) for agent in agents)}", holds=False)
        return
    found = largest_difference(alone, path)
    yield Row(f"{what}: against 1 process", f"weights differ by {found:.1e}", found <= 1e-12)


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on during the block, and ends with it."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ranks_of(agent: int) -> dict[int, int]:
    """The processes of an agent: their numbers by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            values = (path / "environ").read_bytes().split(b"\0") if parent == agent else []
        except OSError:  # it has ended meanwhile
            continue
        found |= {int(value[5:]): int(path.name) for value in values if value.startswith(b"RANK=")}
    return found


def last_step(output: Path) -> int:
    """The step of a run's newest checkpoint; -1 before the first."""
    return int(checkpoints(output)[-1].stem.removeprefix("step-")) if checkpoints(output) else -1


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PROOFS), default=list(PROOFS), metavar="PROOF")
    args = parser.parse_args()
    temporary = Path(tempfile.mkdtemp(prefix="sightline-ranks-"))
    pictures = write_pictures(temporary / "pictures")
    rows = []
    print("| what | found | |\n|---|---|---|")
    for name in args.only:
        for row in PROOFS[name](pictures, temporary):
            rows.append(row)
            print(f"| {row.what} | {row.found} | {'holds' if row.holds else 'FAILS'} |", flush=True)
    wrong = sum(not row.holds for row in rows)
    print(f"\n{len(rows) - wrong} of {len(rows)} hold")
    shutil.rmtree(temporary)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
