"""The task in Sightline, for `peers.py`: the loop of `sightline train` with everything that it chooses for itself."""

from sightline.runtime import choose_runtime, environment  # before torch allocates anything

# isort: split
import tempfile
from pathlib import Path

import numpy as np
import torch
from peer_network import network
from peer_task import Curve, Task, arguments, pictures

from sightline.data.augment import Augment
from sightline.data.loader import EvalLoader, TrainLoader
from sightline.data.preprocess import Preprocess
from sightline.data.sources import open_data
from sightline.data.store import Store
from sightline.training.events import Listeners
from sightline.training.loop import fit
from sightline.training.options import TrainOptions
from sightline.training.state import Checkpoints


def main() -> None:
    args = arguments(__doc__)
    runtime = choose_runtime(amp=None if args.precision is None else args.precision == "bfloat16")
    task = Task.read(args.folder)
    stores = {}
    for split in ("train", "test"):
        images, labels = pictures(args.folder, split)
        catalog = open_data((images, labels))
        preprocess = Preprocess((images.shape[3], *images.shape[1:3]), tuple(task.mean), tuple(task.std))
        stores[split], _ = Store.build(
            catalog,
            np.arange(len(labels)),
            preprocess=preprocess,
            keep_margin=None,
            threads=runtime.threads,
            skip_bad=False,
        )
    loader = TrainLoader(
        stores["train"],
        preprocess,
        Augment(hflip=0.5, crop_padding=task.crop_padding),
        batch_size=task.batch_size,
        seed=task.seed,
        device=runtime.device,
    )
    options = TrainOptions(
        epochs=task.epochs,
        batch_size=task.batch_size,
        lr=task.lr,
        weight_decay=task.weight_decay,
        opt="adamw",
        sched="cosine",
        seed=task.seed,
    )
    net = network(args.folder, task)

    def validate(net: torch.nn.Module) -> tuple[float, float]:
        """Notes the curve; the loss is not asked for."""
        curve.trained(len(loader.store))
        net.eval()
        with torch.inference_mode(), runtime.autocast():
            batches = EvalLoader(stores["test"], preprocess, batch_size=500, device=runtime.device)
            correct = sum(int((net(batch.images).argmax(dim=1) == batch.labels).sum()) for batch in batches)
        curve.tested(correct / len(stores["test"]))
        return 0.0, correct / len(stores["test"])

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), identity={}, every_s=30.0)
        curve = Curve()
        fit(net, loader, options, runtime=runtime, checkpoints=checkpoints, listener=Listeners([]), validate=validate)
    curve.print(versions=f"torch {environment()['torch']}, {runtime.precision}")


if __name__ == "__main__":
    main()
