"""Muon: momentum that turns every weight matrix equally in all its directions."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from sightline.runtime import has_bfloat16
from sightline.training.by_group import ByGroup

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan 2024: of quintics that keep to the band, steepest at zero
AUXILIARY_RATE = 0.05  # see Muon


class Muon(ByGroup):
    """Nesterov momentum on matrices, orthogonalised before it is applied; AdamW on everything else.

        m       = momentum m + g
        update  = orthogonalize(g + momentum m) sqrt(max(1, rows / columns))
        weight  = weight (1 - lr weight_decay) - lr update

    A gradient has a few strong directions and many weak ones; SGD and Adam learn along the strong ones. Here all get
    the same length. A convolution's weight is a matrix with a row for each output channel and a column for each input
    of it (in, height, width).

    The factor gives every update the norm sqrt(rows), whatever its shape. Where a batch norm follows, a weight's length
    is without effect on the output but divides the step: there ("muon_normalized") the weight is set to the norm
    sqrt(rows), too, before each step. lr is then the share of the weight that a step changes, in each layer and to the
    end. Such a weight does not decay, since its length is set.

    Args:
        groups: each with "update", "muon", "muon_normalized" or "adamw"; also "lr", "weight_decay" and more of what
            follows where a group has its own.
        lr: learning rate: 0.02 is usual, 0.24 in airbench. Groups of AdamW have `AUXILIARY_RATE` of it: AdamW's usual
            0.001 beside Muon's 0.02. At 0.24 it is 0.012, and Jordan's `clean_muon.py` trains airbench's head by Adam
            with 0.0011 on weights a ninth as large as here, where the logits are divided instead.
        momentum: 0.95 is usual, 0.6 in airbench, whose runs are short.
        betas: of AdamW; Jordan's.
        eps: of AdamW; Jordan's.
        num_iterations: of `orthogonalize`; 3 in airbench.

    Reference:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
        kellerjordan.github.io/posts/muon; the weights' norm is that of `airbench94_muon.py` by the same author.

    Deviation:
        Jordan's class takes the two last dimensions of a convolution's weight for rows and columns, so that its factor
        is 1 for every kernel; here it is computed from the matrix.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-10,
        num_iterations: int = 5,
    ) -> None:
        own = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "num_iterations": num_iterations}
        super().__init__(groups, {**own, "weight_decay": 0.0, "fused": True})

    def step_group(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Moves the parameters by the update that their group names."""
        update = self._adamw if group["update"] == "adamw" else self._muon
        update(parameters, gradients, group)

    def _muon(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momenta = self._slots(parameters, "momentum_buffer")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        directions = torch._foreach_add(gradients, momenta, alpha=group["momentum"])  # Nesterov's look ahead

        if group["update"] == "muon_normalized":
            for parameter in parameters:
                parameter.mul_(math.sqrt(len(parameter)) / parameter.norm().clamp_min(1e-7))
        else:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])

        for same in _by_matrix([each.shape for each in parameters]):  # together: a few large products, not many small
            matrices = torch.stack([directions[index].flatten(1) for index in same])
            rows, columns = matrices.shape[1:]
            updates = orthogonalize(matrices.to(_fast_dtype(matrices.device)), num_iterations=group["num_iterations"])
            rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for index, update in zip(same, updates, strict=True):
                parameters[index].add_(update.reshape(parameters[index].shape), alpha=-rate)

    def _adamw(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "step" not in self.state[parameter]:
                self.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            gradients,
            self._slots(parameters, "exp_avg"),
            self._slots(parameters, "exp_avg_sq"),
            [],
            [self.state[parameter]["step"] for parameter in parameters],
            fused=group["fused"],
            amsgrad=False,
            maximize=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )

    def _slots(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """This slot of each parameter's state; zeros at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalize(matrices: Tensor, *, num_iterations: int = 5) -> Tensor:
    """The same singular vectors with singular values near 1, by a few matrix products instead of an SVD.

    Newton and Schulz's iteration with a quintic that does not converge but lifts small values fast: after 5 rounds,
    values from 1/660 of the matrix's norm on lie between 0.68 and 1.21, and training does not mind (Jordan 2024); after
    3 rounds those from 1/56 on.

    Args:
        matrices: (N, rows, columns), of the precision to compute in; bfloat16 will do.
        num_iterations: rounds.

    Returns:
        The same shape. A matrix of zeros stays one.

    Example:
        >>> _, sizes, _ = torch.linalg.svd(orthogonalize(torch.diag(torch.tensor([9.0, 3.0, 0.5]))[None]))
        >>> [round(size, 1) for size in sizes[0].tolist()]
        [1.1, 0.8, 0.8]
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices  # the smaller of the two Gram matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)  # no singular value is above 1
    for _ in range(num_iterations):
        gram = x @ x.mT
        quintic = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, quintic, x, beta=a)  # a x + b (x x^T) x + c (x x^T)^2 x
    return x.mT if is_tall else x


def _by_matrix(shapes: Sequence[torch.Size]) -> list[list[int]]:
    """Numbers of the shapes that make matrices of the same size."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, shape in enumerate(shapes):
        found.setdefault((shape[0], math.prod(shape[1:])), []).append(index)
    return list(found.values())


def _fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it."""
    return torch.bfloat16 if has_bfloat16(device) else torch.float32
