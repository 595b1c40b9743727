"""The pictures of `peers.py` by torchvision's transforms and torch's DataLoader: for the guides' loop and Lightning."""

import os
from pathlib import Path

from peer_task import Task, pictures
from reference import reference_libraries
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

(torchvision,) = reference_libraries("torchvision")


class Pictures(Dataset[tuple[Tensor, int]]):
    """One PIL image at a time through torchvision's transforms, as its own CIFAR10 does it."""

    def __init__(self, folder: Path, split: str, transform: torchvision.transforms.Compose) -> None:
        self.images, labels = pictures(folder, split)
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(torchvision.transforms.functional.to_pil_image(self.images[index])), self.labels[index]


def loaders(folder: Path, task: Task) -> tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]]]:
    """The training and the test loader: torchvision's transforms, a worker a core, which stay alive."""
    t = torchvision.transforms
    as_numbers = [t.ToTensor(), t.Normalize(task.mean, task.std)]
    size = pictures(folder, "test")[0].shape[1:3]
    augmented = [t.RandomCrop(size, padding=task.crop_padding), t.RandomHorizontalFlip(), *as_numbers]
    workers = {"num_workers": len(os.sched_getaffinity(0)), "persistent_workers": True}
    train = Pictures(folder, "train", t.Compose(augmented))
    test = Pictures(folder, "test", t.Compose(as_numbers))
    return (
        DataLoader(train, batch_size=task.batch_size, shuffle=True, **workers),
        DataLoader(test, batch_size=500, **workers),
    )
