"""Batch norm over the pictures of all processes (synchronised), and how few pictures make it worth its price."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from sightline.errors import ShapeError
from sightline.training.distributed import World

# Pictures that a batch norm should see at a time. ResNet-50 with 32, 16, 8, 4 and 2 of them has an error of 23.6, 23.7,
# 24.8, 27.3 and 34.7 % on ImageNet: Wu and He 2018, "Group Normalization", arXiv:1803.08494, Table 2.
FEWEST_PICTURES = 16


def has_batch_norm(net: nn.Module) -> bool:
    """Whether what one picture becomes depends, in training, on the others of its batch."""
    return any(isinstance(module, _BatchNorm) for module in net.modules())


def is_synchronised(net: nn.Module) -> bool:
    """Whether every batch norm of a network, if it has any, sees the pictures of all processes."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    return all(isinstance(module, SyncBatchNorm | nn.SyncBatchNorm) for module in norms)


def synchronise_batch_norm(net: nn.Module, world: World) -> nn.Module:
    """Makes every batch norm of a network normalise over the pictures of all processes.

    The layers keep their weights, statistics and names, so that checkpoints and bundles do not change. On GPUs they
    become torch's own `nn.SyncBatchNorm`, which works on nothing else; on CPUs `SyncBatchNorm` of this file.

    Args:
        net: changed in place.
        world: with one process nothing changes.

    Returns:
        The network, or another module where it is itself a batch norm.
    """
    if world.size == 1:
        return net
    if world.device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(net, _BatchNorm):
        return SyncBatchNorm.of(net, world)
    for name, child in net.named_children():
        setattr(net, name, synchronise_batch_norm(child, world))
    return net


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance in training are those of the pictures of all processes.

    A process may have any number of them, and none. What a batch norm does to a batch in one process, it does to the
    same batch shared out: outputs, gradients and running statistics are equal up to rounding. In evaluation it is a
    plain batch norm and exchanges nothing.

    Reference:
        Peng et al. 2017, "MegDet", arXiv:1711.07240, Sec. 3.3. Means and variances are put together as by Chan, Golub
        and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", Stanford report
        STAN-CS-79-773: squares are summed around means, and no large numbers subtracted from each other.
    """

    world: World

    @classmethod
    def of(cls, norm: _BatchNorm, world: World) -> "SyncBatchNorm":
        """Takes the place of a batch norm, with its parameters and statistics themselves.

        Args:
            norm: with one, two or three dimensions of space or none.
            world: whose processes take part.
        """
        sync = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        sync.weight, sync.bias = norm.weight, norm.bias
        sync.running_mean, sync.running_var = norm.running_mean, norm.running_var
        sync.num_batches_tracked = norm.num_batches_tracked
        sync.world = world
        return sync.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        out: Tensor
        out, mean, variance, count = _SyncNormalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self.world
        )
        self._follow(mean, variance, count)
        return out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Moves the running statistics; the variance without bias, as torch's batch norm has it."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ShapeError(f"batch norm needs inputs of shape (N, C, ...), got {tuple(input.shape)}.")


class _SyncNormalise(torch.autograd.Function):
    """(x - mean) / s * weight + bias with mean and standard deviation s of all processes, and these statistics.

    The gradient: with g the gradient at the output times the weight and y the normalised x, that of x is
    (g - mean(g) - y mean(g y)) / s, both means over all processes (Ioffe and Szegedy 2015, arXiv:1502.03167, Sec. 3).
    Those of weight and bias are this process's own, as for any other parameter: what exchanges gradients adds them up.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        mean, variance, count = _statistics(_wide(x), world)
        deviation = (variance + eps).sqrt()
        out = _normalised(x, mean, deviation)
        if weight is not None:
            out = out * _along_channels(weight, out)
        if bias is not None:
            out = out + _along_channels(bias, out)
        ctx.save_for_backward(x, weight, mean, deviation)
        ctx.count, ctx.world = count, world
        ctx.mark_non_differentiable(mean, variance)
        return out.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, deviation = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grad, normalised = _wide(grad), _normalised(x, mean, deviation)
        sums = torch.stack([_channel_sums(grad), _channel_sums(grad * normalised)])
        grad_x = None
        if wants_x:
            mean_grad, mean_both = (_along_channels(each, grad) for each in ctx.world.total(sums) / ctx.count)
            scale = 1 / deviation if weight is None else weight / deviation
            grad_x = ((grad - mean_grad - normalised * mean_both) * _along_channels(scale, grad)).to(x.dtype)
        grad_bias, grad_weight = (sums if weight is None else sums.to(weight.dtype)).unbind()
        return grad_x, grad_weight if wants_weight else None, grad_bias if wants_bias else None, None, None


def _statistics(x: Tensor, world: World) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (without correction) of each channel over all processes, float64, and the number of values."""
    channels = x.shape[1]
    count = x.numel() // channels
    own = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    if count:
        variance, mean = torch.var_mean(x, _all_but_channels(x), correction=0)
        own[:] = torch.cat([mean, variance * count, mean.new_tensor([count])])
    everyone = world.gather(own)
    means, squares, counts = everyone[:, :channels], everyone[:, channels:-1], everyone[:, -1:]
    total = int(counts.sum())
    if total < 2:
        raise ShapeError(
            f"batch norm needs more than one value a channel in training, got {total} in all processes together. "
            "Use a larger batch, or larger pictures."
        )
    mean = (means * counts).sum(0) / total
    squares = squares + counts * (means - mean) ** 2
    return mean, squares.sum(0) / total, total


def _normalised(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    x = _wide(x)
    return (x - _along_channels(mean, x)) / _along_channels(deviation, x)


def _wide(x: Tensor) -> Tensor:
    """Sums need more digits than bfloat16 has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    """A value a channel, in the dtype of x and in a shape that goes with (N, C, ...)."""
    return values.to(x.dtype).view(1, -1, *[1] * (x.dim() - 2))


def _channel_sums(x: Tensor) -> Tensor:
    return x.sum(_all_but_channels(x), dtype=torch.float64)


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]
