"""One process of the proofs in ranks.py: trains, evaluates or fails, alone or with others that torchrun started.

python benchmarks/ranks_member.py train PICTURES --net resnet20 --float64 --output weights.safetensors
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.data.augment import Augment
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.sources import open_data
from sightline.data.store import Store
from sightline.errors import SightlineError, TrainingError
from sightline.models import zoo
from sightline.runtime import choose_runtime
from sightline.training.distributed import World, join_world
from sightline.training.events import EpochDone, StepDone
from sightline.training.full_state import full_state_dict
from sightline.training.loop import fit
from sightline.training.options import TrainOptions
from sightline.training.sharding import shard
from sightline.training.state import Checkpoints
from sightline.training.sync_norm import synchronise_batch_norm

BATCH_SIZE = 48  # of 203 pictures: the last batch of an epoch has 11, six for one process and five for the other
OPTIONS = {"epochs": 2, "batch_size": BATCH_SIZE, "opt": "sgd", "clip_grad": 1.0, "seed": 1}
PREPROCESS = Preprocess((3, 32, 32), mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))


class InFloat64(nn.Module):
    """A network that computes in float64, where the order of a sum leaves no mark."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.double())
        return out


class Silent:
    """A listener that says nothing, and fails after a step in the process that is told to."""

    def __init__(self, fails_after: int | None) -> None:
        self.fails_after = fails_after

    def step_done(self, event: StepDone) -> None:
        if event.state.step == self.fails_after:
            raise TrainingError(f"this process was told to fail after step {self.fails_after}.")

    def epoch_done(self, event: EpochDone) -> None:
        """Goes on."""


def store(pictures: Path, split: str) -> Store:
    catalog = open_data(pictures)
    rows = catalog.select(split)
    return Store.build(catalog, rows, preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=False)[0]


def build(args: argparse.Namespace, world: World) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = zoo.build(args.net, num_classes=10, in_channels=3, image_size=(32, 32))
    net = InFloat64(net) if args.float64 else net
    if args.plain_norm:
        return net
    net = synchronise_batch_norm(net, world)
    return shard(net, world) if args.fsdp else net


def train(args: argparse.Namespace, world: World) -> None:
    options = TrainOptions(**OPTIONS, lr=args.lr)
    loader = TrainLoader(
        store(args.pictures, "train"),
        PREPROCESS,
        Augment(hflip=0.5, crop_padding=2),
        batch_size=options.batch_size,
        seed=options.seed,
        rank=world.rank,
        world_size=world.size,
    )
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(world.from_main(folder))
        state = fit(
            build(args, world),
            loader,
            options,
            runtime=choose_runtime(device="cpu", amp=False, threads=1),
            checkpoints=Checkpoints(shared, identity={}, every_s=1e9, world=world),
            listener=Silent(args.fails_after if world.rank == 1 else None),
            world=world,
        )
        weights = full_state_dict(state.net)
        if world.is_main:
            save_file({name: value.contiguous() for name, value in weights.items()}, args.output)
        world.barrier()  # nobody needs the checkpoints any more


def evaluate(args: argparse.Namespace, world: World) -> None:
    net = build(args, world).eval()
    pictures = EvalLoader(
        store(args.pictures, "test"), PREPROCESS, batch_size=16, rank=world.rank, world_size=world.size
    )
    sums = torch.zeros(3, dtype=torch.float64)
    with torch.inference_mode():
        for batch in pictures:
            logits = net(batch.images)
            correct = (logits.argmax(dim=1) == batch.labels).sum()
            loss = F.cross_entropy(logits, batch.labels, reduction="sum")
            sums += torch.stack([loss.double(), correct.double(), torch.tensor(len(batch)).double()])
    loss_sum, num_correct, count = world.total(sums).tolist()
    if world.is_main:
        args.output.write_text(json.dumps({"loss": loss_sum / count, "correct": num_correct, "count": count}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["train", "evaluate"])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--plain-norm", action="store_true")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--fails-after", type=int, help="step after which process 1 fails")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        with join_world(torch.device("cpu")) as world:
            {"train": train, "evaluate": evaluate}[args.work](args, world)
    except SightlineError as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()
