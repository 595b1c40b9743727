"""The same task in fastai, for `peers.py`: a DataBlock and a Learner, with its own transforms and its own Adam."""

from functools import partial

import fastai
import numpy as np
import torch
from peer_network import network
from peer_task import Curve, Task, arguments, pictures
from peer_torch import torchvision  # before fastai's parts, which import torchvision as well

# isort: split
from fastai.callback.schedule import ParamScheduler, SchedCos
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.learner import Callback, Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from fastai.vision.augment import CropPad, FlipItem, PadMode, RandomCrop
from fastai.vision.data import ImageBlock


class Watch(Callback):
    """Notes the curve."""

    def before_fit(self) -> None:
        self.curve = Curve()

    def before_validate(self) -> None:
        self.curve.trained(len(self.dls.train_ds))
        self.num_correct = 0

    def after_batch(self) -> None:
        if not self.training:
            self.num_correct += int((self.pred.argmax(dim=1) == self.y).sum())

    def after_validate(self) -> None:
        self.curve.tested(self.num_correct / len(self.dls.valid_ds))


def data(args_folder: object, task: Task) -> DataLoaders:
    """Both sets: cropped out of a border and flipped to train, cut back out of the middle to test."""
    sets = [pictures(args_folder, split) for split in ("train", "test")]
    images, labels = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    num_train, size = len(sets[0][1]), images.shape[1]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(labels.max() + 1)))),
        get_x=lambda index: images[index],
        get_y=lambda index: int(labels[index]),
        splitter=IndexSplitter(range(num_train, len(labels))),
        item_tfms=[CropPad(size + 2 * task.crop_padding, pad_mode=PadMode.Zeros), RandomCrop(size), FlipItem(0.5)],
        batch_tfms=Normalize.from_stats(task.mean, task.std),
    )
    return block.dataloaders(range(len(labels)), bs=task.batch_size, val_bs=500)


def main() -> None:
    args = arguments(__doc__)
    if args.precision == "bfloat16":
        raise SystemExit("fastai's mixed precision is for CUDA: on a CPU it trains in float32 all the same")
    task = Task.read(args.folder)
    set_seed(task.seed)
    watch = Watch()
    learner = Learner(
        data(args.folder, task),
        network(args.folder, task),
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(Adam, sqr_mom=0.999, eps=1e-8),  # torch's numbers
        wd=task.weight_decay,
        cbs=[watch, ParamScheduler({"lr": SchedCos(task.lr, 0)})],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(task.epochs, lr=task.lr)
    versions = f"fastai {fastai.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    watch.curve.print(versions=versions)


if __name__ == "__main__":
    main()
