"""Pictures that a data set holds more than once: the same pixels, the same shot saved again, or its mirror image.

A picture in both the training and the test split makes the score too good; one in two classes is wrong in one of them.
Three steps, each on fewer pairs than the one before:

1. equal digests of the pixels: exact copies;
2. candidates (`sightline.data.neighbours`): for each picture the few others that are coarsely alike;
3. each candidate pair is laid on each other and compared closely (`sightline.data.alignment`). A pair whose score
   reaches `LEAST_SCORE` is a near duplicate: the same shot, saved again as JPEG, scaled, cropped by up to a tenth of
   each edge, brightened or darkened.

A picture that is nearly of one colour is never a near duplicate: what little there is in it may be noise. Only its
exact copies are found. Rotations, strong crops and pictures in pictures are not found.

Where nearly all pictures look alike, as small clothes on black do, a high score is no evidence: there the score must
stand out from those of other pictures, see `least_scores`.

How others do it: imagededup takes two pictures for copies when their 64-bit pHashes differ by at most 10 bits, or when
features of a network are alike by 0.9; CleanVision when their wavelet hashes are equal; fastdup by features. Hashes
alone find few crops or many false pairs, and features call two pictures of the same kind of thing alike.

Reference:
    Barz, Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging 2020, arXiv:1902.00423:
    3.3 % of CIFAR-10's test pictures have a duplicate in the training set.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sightline.data.alignment import likeness
from sightline.data.fingerprint import Fingerprints
from sightline.data.neighbours import Candidates, candidates

Kind = Literal["exact", "near", "mirrored"]
Progress = Callable[[int, int], None]  # (pictures done, pictures in all)

# Not from a paper: chosen because of 600 altered copies of CIFAR-10's pictures 99 % scored 0.98 and more, JPEG and
# crops alike, while of the 48 pairs of its own just above 0.93 all but about four are one shot, judged by eye.
LEAST_SCORE = 0.93
# A mirror image needs more: ships on a horizon and faces from the front are nearly their own mirror images.
LEAST_MIRRORED_SCORE = 0.95
LEAST_RELIEF = 1.0  # grey levels a pixel; the flattest of CIFAR-10's pairs have 1.5, noise on one colour 0.5 at most
_TYPICAL_RANK = 4  # whose score tells how alike a data set's pictures are: hardly a picture has four copies
_ENOUGH = 1000  # pictures; in fewer, copies may well be what is typical
_ALIKE = 0.8
_STANDING_OUT = 0.3  # of the fourth's distance from 1


@dataclass(frozen=True)
class Pair:
    """Two pictures that are one.

    Args:
        first: the number of the one that comes first.
        second: of the other.
        kind: "exact": the same pixels. "near": the same shot, altered. "mirrored": the same, mirrored left to right.
        score: 1.0 for exact; else at least `LEAST_SCORE` and at most 1.
    """

    first: int
    second: int
    kind: Kind
    score: float


def find_duplicates(fingerprints: Fingerprints, *, progress: Progress | None = None) -> list[Pair]:
    """Find the pictures that a data set holds more than once.

    The result depends on nothing but the fingerprints and their order. The time grows in proportion to their number;
    look-alikes take several times as long, since each pair of them has to be compared closely.

    Args:
        fingerprints: of all pictures, of all splits and classes. A digest of zeros stands for a picture that could not
            be read, and has no copies.
        progress: called with (pictures done, pictures in all) while candidates are sought, which takes most of the
            time.

    Returns:
        Ordered by their numbers. Of many equal pictures each is paired with the first of them, and only the first has
        near duplicates, so take `clusters` to see what belongs together, over splits, say.

    Example:
        >>> from sightline.data.fingerprint import fingerprint
        >>> shot = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
        >>> pictures = [shot, shot // 2, np.full((8, 8, 1), 9, np.uint8), shot, np.full((8, 8, 1), 8, np.uint8)]
        >>> for pair in find_duplicates(Fingerprints.of(map(fingerprint, pictures))):
        ...     print(pair.first, pair.second, pair.kind)
        0 1 near
        0 3 exact
    """
    there = np.flatnonzero(fingerprints.digests.any(1))
    first_equal = there[_first_equal(fingerprints.digests[there])]
    pairs = [Pair(int(first_equal[at]), int(there[at]), "exact", 1.0) for at in np.flatnonzero(first_equal != there)]
    distinct = np.unique(first_equal)
    lumas = torch.from_numpy(fingerprints.lumas[distinct])
    found = candidates(lumas, progress=progress)
    compared = likeness(lumas, found)
    scores = torch.where(compared.relief >= LEAST_RELIEF, compared.score, 0.0)
    pairs += _near(found, scores, least_scores(found, scores, len(lumas)), distinct)
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def least_scores(pairs: Candidates, scores: Tensor, num_pictures: int) -> Tensor:
    """The score that each pair needs to be near duplicates.

    It is `LEAST_SCORE`, or `LEAST_MIRRORED_SCORE`. In a set of look-alikes, whose typical picture has four others with
    a score of 0.8, a pair must also stand out: it may leave at most 0.3 of the distance to 1 that the fourth best pair
    of either picture leaves. (Not from a paper: chosen because Fashion-MNIST is such a set, and CIFAR-10 far from it,
    though it holds one car 85 times.) Sets of less than 1,000 pictures are never taken for one of look-alikes.

    Args:
        pairs: the candidates.
        scores: float32 (M,), theirs.
        num_pictures: how many pictures they are of.

    Returns:
        float32 (M,).
    """
    least = torch.where(pairs.mirrored, LEAST_MIRRORED_SCORE, LEAST_SCORE)
    fourth = _fourth_best(pairs, scores, num_pictures)
    if num_pictures < _ENOUGH or float(fourth.median()) < _ALIKE:
        return least
    rival = torch.maximum(fourth[pairs.first], fourth[pairs.second])
    return torch.maximum(least, 1 - _STANDING_OUT * (1 - rival))


def _fourth_best(pairs: Candidates, scores: Tensor, num_pictures: int) -> Tensor:
    """The score of each picture's fourth best pair, 0 where there are fewer: float32 (N,)."""
    both, twice = torch.cat([pairs.first, pairs.second]), scores.repeat(2)
    order = torch.argsort(twice, descending=True, stable=True)
    order = order[torch.argsort(both[order], stable=True)]
    counts = torch.bincount(both, minlength=num_pictures)
    at = torch.cumsum(counts, 0) - counts + _TYPICAL_RANK - 1
    fourth = torch.zeros(num_pictures)
    has_fourth = counts >= _TYPICAL_RANK
    fourth[has_fourth] = twice[order][at[has_fourth]]
    return fourth


def clusters(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """What belongs together: the connected components of the pairs.

    Args:
        pairs: of any kinds.

    Returns:
        Two numbers or more each, ascending; ordered by the first.

    Example:
        >>> clusters([Pair(0, 5, "near", 0.97), Pair(2, 3, "exact", 1.0), Pair(4, 5, "exact", 1.0)])
        [(0, 4, 5), (2, 3)]
    """
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while (above := parent.setdefault(number, number)) != number:
            parent[number] = parent[above]
            number = parent[number]
        return number

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for number in sorted(parent):
        members.setdefault(root(number), []).append(number)
    return [tuple(numbers) for numbers in members.values()]


def _first_equal(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """For each picture, the number of the first with the same digest."""
    keys = np.ascontiguousarray(digests).view(np.dtype((np.void, digests.shape[1])))[:, 0]
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first.astype(np.int64)[which]


def _near(found: Candidates, scores: Tensor, least: Tensor, numbers: npt.NDArray[np.int64]) -> list[Pair]:
    """The candidates that score enough; of a pair that does both ways, the one that is not mirrored."""
    pairs: dict[tuple[int, int], Pair] = {}
    for at in torch.nonzero(scores >= least)[:, 0].tolist():
        first, second = sorted((int(numbers[found.first[at]]), int(numbers[found.second[at]])))
        kind: Kind = "mirrored" if found.mirrored[at] else "near"
        if kind == "near" or (first, second) not in pairs:
            pairs[first, second] = Pair(first, second, kind, min(1.0, float(scores[at])))
    return list(pairs.values())
