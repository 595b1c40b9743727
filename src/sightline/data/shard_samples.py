"""What one shard gives a catalog, in little memory."""

from dataclasses import dataclass
from sys import intern

import numpy as np
import numpy.typing as npt

from sightline.data.catalog import Problem
from sightline.data.sample import Label
from sightline.data.shard import Shard
from sightline.data.shard_images import Names


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """The labelled samples of one shard, in its order: about 80 bytes each, and their names.

    Args:
        names: of the pictures' files.
        offsets: int64 (N,), of their first bytes.
        sizes: int64 (N,).
        sha256: uint8 (N, 32).
        labels: of each.
        groups: of each; "" for none.
        problems: what is not used.
        num_ignored: files that belong to no sample.
    """

    names: Names
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    sha256: npt.NDArray[np.uint8]
    labels: list[Label]
    groups: list[str]
    problems: list[Problem]
    num_ignored: int

    @classmethod
    def of(cls, shard: Shard) -> "ShardSamples":
        """Read them.

        Args:
            shard: the file.

        Raises:
            DataError: it cannot be reached.
        """
        index = shard.index()
        problems = [Problem(f"{shard.name}/{name}" if name else shard.name, reason) for name, reason in index.problems]
        rows = []
        for row, label in enumerate(index.labels):
            if label is None:
                problems.append(Problem(f"{shard.name}/{index.names[row]}", "has no label"))
            else:
                rows.append(row)
        digests = b"".join([bytes.fromhex(index.sha256[row]) for row in rows])
        return cls(
            names=Names([index.names[row] for row in rows]),
            offsets=np.array([index.offsets[row] for row in rows], np.int64),
            sizes=np.array([index.sizes[row] for row in rows], np.int64),
            sha256=np.frombuffer(digests, np.uint8).reshape(-1, 32),
            labels=[_shared(label) for row in rows if (label := index.labels[row]) is not None],
            groups=[intern(index.groups[row]) for row in rows],
            problems=problems,
            num_ignored=index.num_ignored,
        )


def _shared(label: Label) -> Label:
    """One string for all samples of a class."""
    return intern(label) if isinstance(label, str) else label
