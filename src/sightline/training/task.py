"""What a network is asked of a picture: one class of several, or a yes or no for each label.

The loop is the same for both. What differs is here: the loss, the plain loss that validations are compared by, and the
score beside it. A score is a ratio of two whole numbers, so that micro-batches, processes and resumed runs add up to
the same.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.data.targets import is_multilabel
from sightline.training.loss import Loss, build_loss
from sightline.training.multilabel_loss import binary_questions, build_multilabel_loss
from sightline.training.options import TrainOptions


class Task(ABC):
    """What a network is asked.

    Attributes:
        score: what the score is called in history.csv: `train_<score>` and `val_<score>`.
        words: what it is called on the terminal.
    """

    score: ClassVar[str]
    words: ClassVar[str]

    @abstractmethod
    def build_loss(self, options: TrainOptions) -> Loss:
        """The loss that the training makes small."""

    @abstractmethod
    def plain_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the pictures of the loss without smoothing and weights, in nats: the one of every validation.

        Args:
            logits: float32 (n, K).
            labels: of a store.
        """

    @abstractmethod
    def tally(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What a batch adds to the two whole numbers whose ratio is the score: (2,), of the logits' device.

        Args:
            logits: (n, K).
            targets: as the loss takes them.
        """


class SingleLabel(Task):
    """One class a picture; the score is accuracy."""

    score = "accuracy"
    words = "accuracy"

    def build_loss(self, options: TrainOptions) -> Loss:
        """The loss that the options name."""
        return build_loss(options)

    def plain_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(logits, labels, reduction="sum")

    def tally(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Right answers, and pictures. Of a mixed picture its largest share counts.

        Example:
            >>> SINGLE_LABEL.tally(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
            tensor([1, 2])
        """
        labels = targets if targets.dim() == 1 else targets.argmax(dim=1)
        correct = (logits.argmax(dim=1) == labels).sum()
        return torch.stack((correct, torch.full_like(correct, len(logits))))


class MultiLabel(Task):
    """Any number of labels a picture; the score is micro F1 at probability one half.

    Its parts add up over pictures, which those of mAP do not, and "no" to a label that hardly any picture has does not
    raise it, as it does the share of right questions.
    """

    score = "micro_f1"
    words = "micro F1"

    def build_loss(self, options: TrainOptions) -> Loss:
        """Binary questions, as the options weigh them."""
        return build_multilabel_loss(options)

    def plain_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over the labels."""
        return binary_questions(logits, labels.to(logits.dtype)).sum()

    def tally(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Twice the labels that are there and said, and the labels there plus the labels said.

        Of a mixed picture a label is there from a share of one half on.

        Example:
            >>> MULTI_LABEL.tally(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
            tensor([2, 3])
        """
        said, there = logits >= 0, targets >= 0.5
        return torch.stack((2 * (said & there).sum(), said.sum() + there.sum()))


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()
WORDS = {task.score: task.words for task in (SINGLE_LABEL, MULTI_LABEL)}  # from a column's name to a reader's


def task_of(labels: Tensor) -> Task:
    """What is asked of pictures with such labels.

    Args:
        labels: of a store: int64 (n,), or uint8 (n, K) of multi-label data.
    """
    return MULTI_LABEL if is_multilabel(labels) else SINGLE_LABEL
