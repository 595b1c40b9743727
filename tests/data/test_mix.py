"""Mixup and CutMix are the papers' formulas, with labels that tell the truth, and pure functions of the step."""

import math

import numpy as np
import pytest
import torch

from sightline.data.mix import Mix, Pairing, cutmix_boxes
from sightline.errors import ConfigError

SIZE = (12, 10)


def pairing_of(mix: Mix, count: int, *, seed: int = 0, epoch: int = 0, step: int = 0) -> Pairing:
    return mix.pairing(count, image_size=SIZE, seed=seed, epoch=epoch, step=step)


def random_batch(count: int, num_classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, 3, *SIZE, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    return images, torch.eye(num_classes)[labels]


def equal(first: Pairing, second: Pairing) -> bool:
    if (first.boxes is None) != (second.boxes is None):
        return False
    same_boxes = first.boxes is None or torch.equal(first.boxes, second.boxes)
    return same_boxes and torch.equal(first.partners, second.partners) and torch.equal(first.weight, second.weight)


# ------------------------------------------------------------------------------------------------------------- images


def test_mixup_is_the_papers_formula() -> None:
    """Zhang et al., Eq. 2: lambda * x_i + (1 - lambda) * x_j, and likewise of the labels."""
    images, targets = random_batch(9)
    pairing = pairing_of(Mix(mixup=1.0), 9)
    mixed, mixed_targets = pairing.apply(images, images[pairing.partners], targets, targets[pairing.partners])
    for i, j in enumerate(pairing.partners.tolist()):
        share = float(pairing.weight[i])
        expected = share * images[i].double().numpy() + (1 - share) * images[j].double().numpy()
        np.testing.assert_allclose(mixed[i].numpy(), expected, atol=1e-6)
        expected = share * targets[i].double().numpy() + (1 - share) * targets[j].double().numpy()
        np.testing.assert_allclose(mixed_targets[i].numpy(), expected, atol=1e-6)


def test_cutmix_pastes_the_box_of_the_partner_and_nothing_else() -> None:
    images, targets = random_batch(40)
    pairing = pairing_of(Mix(cutmix=1.0), 40)
    mixed, mixed_targets = pairing.apply(images, images[pairing.partners], targets, targets[pairing.partners])
    assert pairing.boxes is not None
    for i, j in enumerate(pairing.partners.tolist()):
        top, left, height, width = pairing.boxes[i].tolist()
        expected = images[i].clone()
        expected[:, top : top + height, left : left + width] = images[j][:, top : top + height, left : left + width]
        assert torch.equal(mixed[i], expected)
        kept = 1 - height * width / (SIZE[0] * SIZE[1])
        np.testing.assert_allclose(mixed_targets[i], kept * targets[i] + (1 - kept) * targets[j], atol=1e-6)


def test_the_share_is_that_of_the_pixels_that_are_there() -> None:
    """A box that reaches over the edge is smaller than drawn; the label counts the pixels, not the draw."""
    count = 300
    black, white = torch.zeros(count, 1, *SIZE), torch.ones(count, 1, *SIZE)
    own, other = torch.tensor([[1.0, 0.0]]).expand(count, 2), torch.tensor([[0.0, 1.0]]).expand(count, 2)
    mixed, targets = pairing_of(Mix(cutmix=1.0), count).apply(black, white, own, other)
    np.testing.assert_allclose(targets[:, 1], mixed.double().mean(dim=(1, 2, 3)), atol=1e-6)


# timm 1.0.31, timm.data.mixup.cutmix_bbox_and_lam((3, 32, 24), lam), with np.random.randint replaced by the centre:
# (lam, centre), (top, bottom, left, right), corrected lam.
TIMM = [
    ((0.75, 16, 12), (8, 24, 6, 18), 0.75),
    ((0.0, 0, 0), (0, 16, 0, 12), 0.75),
    ((0.0, 31, 23), (15, 32, 11, 24), 0.712239583),
    ((0.36, 5, 20), (0, 18, 11, 24), 0.6953125),
    ((0.99, 31, 0), (30, 32, 0, 1), 0.997395833),
    ((1.0, 7, 7), (7, 7, 7, 7), 1.0),
    ((0.5, 17, 11), (6, 28, 3, 19), 0.541666667),
    ((0.1, 16, 12), (1, 31, 1, 23), 0.140625),
]


def test_boxes_are_timms() -> None:
    share = np.array([given[0] for given, _, _ in TIMM])
    centres = np.array([given[1:] for given, _, _ in TIMM])
    boxes = cutmix_boxes(share, (centres + 0.5) / (32, 24), (32, 24))
    corners = [(top, top + height, left, left + width) for top, left, height, width in boxes.tolist()]
    assert corners == [box for _, box, _ in TIMM]
    kept = 1 - boxes[:, 2] * boxes[:, 3] / (32 * 24)
    np.testing.assert_allclose(kept, [expected for _, _, expected in TIMM], atol=1e-9)


@pytest.mark.parametrize("mix", [Mix(mixup=0.2), Mix(cutmix=1.0), Mix(mixup=0.8, cutmix=1.0, prob=0.5)])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_targets_sum_to_one_and_nothing_is_written_over(mix: Mix, count: int) -> None:
    images, targets = random_batch(count)
    before = images.clone(), targets.clone()
    for step in range(6):
        pairing = pairing_of(mix, count, step=step)
        mixed, mixed_targets = pairing.apply(images, images[pairing.partners], targets, targets[pairing.partners])
        np.testing.assert_allclose(mixed_targets.sum(dim=1), np.ones(count), atol=2e-7)
        assert mixed_targets.min() >= 0
        assert mixed.dtype == torch.float32 and mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before[0]) and torch.equal(targets, before[1])


def test_labels_are_not_smoothed_here() -> None:
    images, targets = random_batch(8)
    pairing = Pairing(torch.arange(8), torch.ones(8), None)
    mixed, mixed_targets = pairing.apply(images, images, targets, targets)
    assert torch.equal(mixed, images) and torch.equal(mixed_targets, targets)


@pytest.mark.parametrize("mix", [Mix(mixup=1.0), Mix(cutmix=1.0)])
def test_mixing_follows_the_images_to_their_device(mix: Mix) -> None:
    images, targets = (tensor.to("meta") for tensor in random_batch(4))
    mixed, mixed_targets = pairing_of(mix, 4).apply(images, images, targets, targets)
    assert mixed.device.type == mixed_targets.device.type == "meta"
    assert mixed.shape == (4, 3, *SIZE) and mixed_targets.shape == (4, 5)


# ------------------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_beta_for_each_picture(alpha: float) -> None:
    count = 20_000
    weight = pairing_of(Mix(mixup=alpha), count).weight.double()
    assert len(weight.unique()) > count / 3  # a small alpha rounds many to 0 and 1
    # Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of Beta(alpha, alpha); five standard errors of the mean, 5 % of it.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weight.mean() - 0.5) < 5 * math.sqrt(variance / count)
    assert abs(weight.var() / variance - 1) < 0.05
    if alpha == 1:  # uniform
        assert (torch.histc(weight, 10, 0, 1) - count / 10).abs().max() < 5 * math.sqrt(count / 10)


def test_boxes_lie_inside_and_their_centres_anywhere() -> None:
    pairing = pairing_of(Mix(cutmix=1.0), 20_000)
    assert pairing.boxes is not None and pairing.boxes.dtype == torch.int64
    top, left, height, width = pairing.boxes.unbind(dim=1)
    assert pairing.boxes.min() >= 0
    assert (top + height).max() == SIZE[0] and (left + width).max() == SIZE[1]
    small = height * width == 1  # where nothing is cut off, each place is as likely
    counts = torch.bincount(top[small] * SIZE[1] + left[small], minlength=SIZE[0] * SIZE[1])
    expected = counts.sum() / len(counts)
    assert counts.sum() > 100 and (counts - expected).abs().max() < 5 * expected.sqrt() + 1


@pytest.mark.parametrize("count", range(1, 41))
def test_partners_are_a_permutation_and_nobody_is_his_own(count: int) -> None:
    partners = pairing_of(Mix(mixup=1.0), count).partners
    assert sorted(partners.tolist()) == list(range(count))
    assert count == 1 or not (partners == torch.arange(count)).any()


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_partners_lie_in_the_same_process(world_size: int) -> None:
    partners = pairing_of(Mix(mixup=1.0), 16 * world_size).partners
    assert torch.equal(partners % world_size, torch.arange(16 * world_size) % world_size)


def test_prob_is_the_share_of_mixed_batches_and_switch_prob_that_of_cutmix_among_them() -> None:
    steps = 2000
    pairings = [
        pairing_of(Mix(mixup=1.0, cutmix=1.0, prob=0.7, switch_prob=0.2), 2, step=step) for step in range(steps)
    ]
    mixed = [pairing for pairing in pairings if (pairing.weight < 1).any()]
    cut = [pairing for pairing in mixed if pairing.boxes is not None]
    assert abs(len(mixed) / steps - 0.7) < 5 * math.sqrt(0.7 * 0.3 / steps)
    assert abs(len(cut) / len(mixed) - 0.2) < 5 * math.sqrt(0.2 * 0.8 / len(mixed))
    assert all(torch.equal(pairing.partners, torch.arange(2)) for pairing in pairings if pairing.weight.min() == 1)


@pytest.mark.parametrize(
    ("mix", "cuts"),
    [
        (Mix(mixup=1.0, switch_prob=1.0), False),  # the switch is for where both are on
        (Mix(cutmix=1.0, switch_prob=0.0), True),
        (Mix(mixup=1.0, cutmix=1.0, switch_prob=0.0), False),
        (Mix(mixup=1.0, cutmix=1.0, switch_prob=1.0), True),
    ],
)
def test_which_of_the_two(mix: Mix, cuts: bool) -> None:
    assert all((pairing_of(mix, 4, step=step).boxes is not None) == cuts for step in range(50))


def test_a_pairing_is_a_pure_function_of_seed_epoch_and_step() -> None:
    for mix in (Mix(mixup=0.2), Mix(cutmix=1.0)):
        base = pairing_of(mix, 8, seed=3, epoch=2, step=1)
        assert equal(base, pairing_of(mix, 8, seed=3, epoch=2, step=1))
        for seed, epoch, step in [(4, 2, 1), (3, 1, 1), (3, 2, 2), (3, 1, 2), (2, 3, 1)]:
            other = pairing_of(mix, 8, seed=seed, epoch=epoch, step=step)
            assert not torch.equal(other.weight, base.weight)


def test_a_seed_of_any_size_or_sign_is_taken() -> None:
    weights = [pairing_of(Mix(mixup=1.0), 4, seed=seed).weight for seed in (-1, 2**63, 2**64 - 2, 0)]
    assert all(not torch.equal(weights[i], weights[j]) for i in range(4) for j in range(i))


def test_pinned_numbers() -> None:
    """These never change: a run that is resumed by a later version goes on with the same numbers."""
    given = {"image_size": (16, 12), "seed": 42, "epoch": 7}
    weight = Mix(mixup=0.4).pairing(5, step=0, **given).weight
    expected = [0.01618242636322975, 0.9964781999588013, 0.06819605082273483, 0.7743222713470459, 0.01772519387304783]
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    boxes = Mix(cutmix=1.0).pairing(5, step=3, **given).boxes
    assert boxes is not None
    assert boxes.tolist() == [[4, 1, 8, 6], [5, 0, 9, 6], [7, 0, 9, 10], [9, 1, 7, 6], [4, 10, 3, 2]]


def test_a_shard_has_the_rows_of_its_pictures() -> None:
    for mix in (Mix(mixup=1.0), Mix(cutmix=1.0)):
        whole = pairing_of(mix, 10)
        shard = whole.of(torch.tensor([1, 4, 7]))
        assert torch.equal(shard.partners, whole.partners[[1, 4, 7]])
        assert torch.equal(shard.weight, whole.weight[[1, 4, 7]])
        assert (shard.boxes is None) == (whole.boxes is None)
        assert whole.boxes is None or torch.equal(shard.boxes, whole.boxes[[1, 4, 7]])


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixup": -0.1}, "mixup is -0.1; alpha must be 0 (for none) or more, and finite."),
        ({"cutmix": math.inf}, "cutmix is inf; alpha must be 0 (for none) or more, and finite."),
        ({"mixup": math.nan}, "mixup is nan; alpha must be 0 (for none) or more, and finite."),
        ({"mixup": 1.0, "prob": 1.5}, "prob is 1.5; a probability must be from 0 to 1."),
        ({"mixup": 1.0, "switch_prob": -1}, "switch_prob is -1; a probability must be from 0 to 1."),
        ({}, "mixup and cutmix are both 0, which mixes nothing. Set one of them, or give no Mix."),
    ],
)
def test_numbers_that_cannot_be(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Mix(**fields)
    assert str(caught.value) == message
