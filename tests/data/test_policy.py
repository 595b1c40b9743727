"""RandAugment, TrivialAugment, AugMix: torchvision's operations and ranges, the papers' draws, Pillow's pictures."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from sightline.data.draw import draw
from sightline.data.operation import Span, augmix_spans, operate, rand_spans, trivial_spans
from sightline.data.policy import AugMix, RandAugment, TrivialAugment, policy_of
from sightline.errors import ConfigError
from tests.data.small_stores import smooth_picture

HALF_STEP = 2.0**-25

# torchvision 0.28, torchvision/transforms/autoaugment.py: RandAugment._augmentation_space(31, (height, width)) and
# TrivialAugmentWide._augmentation_space(31): name -> (magnitudes[0], magnitudes[-1], signed), in its order; 0, 0 stands
# for those without a magnitude. The four factors are 1 + magnitude (`_apply_op`).
RANDAUGMENT = {
    "Identity": (0, 0, False),
    "ShearX": (0, 0.3, True),
    "ShearY": (0, 0.3, True),
    "TranslateX": (0, 150 / 331 * 80, True),  # of a width of 80 px
    "TranslateY": (0, 150 / 331 * 60, True),  # of a height of 60 px
    "Rotate": (0, 30, True),
    "Brightness": (0, 0.9, True),
    "Color": (0, 0.9, True),
    "Contrast": (0, 0.9, True),
    "Sharpness": (0, 0.9, True),
    "Posterize": (8, 4, False),
    "Solarize": (255, 0, False),
    "AutoContrast": (0, 0, False),
    "Equalize": (0, 0, False),
}
TRIVIAL = {
    "Identity": (0, 0, False),
    "ShearX": (0, 0.99, True),
    "ShearY": (0, 0.99, True),
    "TranslateX": (0, 32, True),
    "TranslateY": (0, 32, True),
    "Rotate": (0, 135, True),
    "Brightness": (0, 0.99, True),
    "Color": (0, 0.99, True),
    "Contrast": (0, 0.99, True),
    "Sharpness": (0, 0.99, True),
    "Posterize": (8, 2, False),
    "Solarize": (255, 0, False),
    "AutoContrast": (0, 0, False),
    "Equalize": (0, 0, False),
}
# google-research/augmix, augmentations.py: `augmentations`, and each one's int_parameter / float_parameter at level 10.
AUGMIX = {
    "ShearX": (0, 0.3, True),
    "ShearY": (0, 0.3, True),
    "TranslateX": (0, 80 / 3, True),
    "TranslateY": (0, 60 / 3, True),
    "Rotate": (0, 30, True),
    "Posterize": (4, 0, False),
    "Solarize": (256, 0, False),
    "AutoContrast": (0, 0, False),
    "Equalize": (0, 0, False),
}
FACTORS = ("Brightness", "Color", "Contrast", "Sharpness")


@pytest.mark.parametrize(
    ("spans", "theirs"),
    [(rand_spans(60, 80), RANDAUGMENT), (trivial_spans(60, 80), TRIVIAL), (augmix_spans(60, 80), AUGMIX)],
)
def test_operations_and_ranges(spans: dict[str, Span], theirs: dict[str, tuple[float, float, bool]]) -> None:
    assert list(spans) == list(theirs)
    for name, (none, most, is_signed) in theirs.items():
        if name in FACTORS:
            none, most = 1 + none, 1 + most
        if name == "Solarize":
            none = 256  # pure white stays at magnitude 0, the one deviation
        assert spans[name].is_signed == is_signed, name
        assert math.isclose(spans[name].none, none) and math.isclose(spans[name].most, most), name


@pytest.mark.parametrize("name", [name for name in RANDAUGMENT if name not in ("AutoContrast", "Equalize")])
@pytest.mark.parametrize("spans", [rand_spans(20, 30), trivial_spans(20, 30)], ids=["rand", "trivial"])
def test_magnitude_zero_changes_nothing(spans: dict[str, Span], name: str) -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8))
    choices = torch.full((4,), list(spans).index(name))
    signs = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    result = operate(pictures, spans, choices, torch.zeros(4, dtype=torch.float64), signs, fill=(128,))
    assert torch.equal(result, pictures)


# ------------------------------------------------------------------------------------------------ against Pillow


def pillow(name: str, amount: float) -> Callable[[Image.Image], Image.Image]:
    """One operation of torchvision's `_apply_op`, in Pillow, bilinear, grey outside."""
    enhance = {
        "Brightness": ImageEnhance.Brightness,
        "Color": ImageEnhance.Color,
        "Contrast": ImageEnhance.Contrast,
        "Sharpness": ImageEnhance.Sharpness,
    }
    matrix = {
        "ShearX": (1, amount, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, amount, 1, 0),
        "TranslateX": (1, 0, int(amount), 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, int(amount)),
    }
    if name in enhance:
        return lambda image: enhance[name](image).enhance(1 + amount)
    if name in matrix:
        return lambda image: image.transform(
            image.size, Image.Transform.AFFINE, matrix[name], Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
        )
    others: dict[str, Callable[[Image.Image], Image.Image]] = {
        "Identity": lambda image: image,
        "Rotate": lambda image: image.rotate(amount, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)),
        "Posterize": lambda image: ImageOps.posterize(image, round(amount)),
        "Solarize": lambda image: ImageOps.solarize(image, amount),
        "AutoContrast": ImageOps.autocontrast,
        "Equalize": ImageOps.equalize,
    }
    return others[name]


def check_picture(made: Tensor, picture: np.ndarray, name: str, amount: float) -> None:
    """All pixels within one level; of moved pictures, all but those along the edge of what came in."""
    theirs = np.asarray(pillow(name, amount)(Image.fromarray(picture)))
    difference = np.abs(made.numpy().astype(int) - theirs).max(axis=2)
    share = 0.08 if name in ("Rotate", "ShearX", "ShearY") else 0
    assert (difference > 1).mean() <= share, (name, amount)


def drawn(count: int, columns: int, seed: int = 0) -> Tensor:
    return draw(seed, 0, range(count), columns)


@pytest.mark.parametrize(("magnitude", "seed"), [(9, 0), (30, 1), (15, 2)])
def test_randaugment_is_what_pillow_makes_of_the_same_draws(magnitude: int, seed: int) -> None:
    pictures = np.stack([smooth_picture(60, 80, number) for number in range(60)])
    numbers = drawn(60, 3, seed)
    result = RandAugment(magnitude, num_ops=1).apply(torch.from_numpy(pictures), numbers, fill=(128,))
    seen = set()
    for made, picture, (choice, sign, _) in zip(result, pictures, numbers.tolist(), strict=True):
        name = list(RANDAUGMENT)[int(14 * choice)]
        none, most, is_signed = RANDAUGMENT[name]
        amount = none + (most - none) * magnitude / 30
        amount = 256 * (1 - magnitude / 30) if name == "Solarize" else amount
        amount = -amount if is_signed and sign < 0.5 else amount
        check_picture(made, picture, name, amount)
        seen.add(name)
    assert len(seen) > 11


def test_trivialaugment_is_what_pillow_makes_of_the_same_draws() -> None:
    pictures = np.stack([smooth_picture(60, 80, number) for number in range(90)])
    numbers = drawn(90, 3)
    result = TrivialAugment().apply(torch.from_numpy(pictures), numbers, fill=(128,))
    for made, picture, (choice, sign, luck) in zip(result, pictures, numbers.tolist(), strict=True):
        name = list(TRIVIAL)[int(14 * choice)]
        none, most, is_signed = TRIVIAL[name]
        magnitude = int(31 * luck)  # torchvision: randint(31) of 31 bins
        amount = none + (most - none) * magnitude / 30
        amount = 256 * (1 - magnitude / 30) if name == "Solarize" else amount
        amount = -amount if is_signed and sign < 0.5 else amount
        check_picture(made, picture, name, amount)


def test_operations_come_one_after_the_other() -> None:
    pictures = torch.from_numpy(np.stack([smooth_picture(24, 30, number) for number in range(30)]))
    numbers = drawn(30, 9)
    whole = RandAugment(20, num_ops=3).apply(pictures, numbers, fill=(128,))
    step = pictures
    for turn in range(3):
        step = RandAugment(20, num_ops=1).apply(step, numbers[:, 3 * turn : 3 * turn + 3], fill=(128,))
    assert torch.equal(whole, step)


def test_every_operation_is_as_likely_and_both_signs_are() -> None:
    count = 28_000
    chosen: Counter[str] = Counter()
    signs: Counter[bool] = Counter()
    calls: list[tuple[Tensor, Tensor]] = []

    def record(pictures, spans, choices, levels, signs, *, fill):
        calls.append((choices, signs))
        return pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.data.policy.operate", record)
        RandAugment(num_ops=2).apply(torch.zeros(count, 1, 1, 3), drawn(count, 6), fill=(0,))
    for choices, sides in calls:
        chosen.update(list(RANDAUGMENT)[number] for number in choices.tolist())
        signs.update((sides > 0).tolist())
    expected = 2 * count / 14
    assert set(chosen) == set(RANDAUGMENT)
    assert all(abs(number - expected) < 5 * math.sqrt(expected) for number in chosen.values())
    assert abs(signs[True] - count) < 5 * math.sqrt(count / 2)
    pairs = Counter(zip(calls[0][0].tolist(), calls[1][0].tolist(), strict=True))  # the two are independent
    assert len(pairs) == 14 * 14
    assert all(abs(number - count / 196) < 6 * math.sqrt(count / 196) for number in pairs.values())


def levels_of(policy, columns: int, count: int = 20_000) -> Tensor:
    found: list[Tensor] = []

    def record(pictures, spans, choices, levels, signs, *, fill):
        found.append(levels)
        return pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.data.policy.operate", record)
        policy.apply(torch.zeros(count, 1, 1, 3), drawn(count, columns), fill=(0,))
    return torch.cat(found)


def test_magnitudes_have_the_spread_asked_for() -> None:
    assert (levels_of(RandAugment(9), 6) == 9 / 30).all()
    noisy = 30 * levels_of(RandAugment(9, magnitude_std=0.5), 6)
    assert abs(noisy.mean() - 9) < 5 * 0.5 / math.sqrt(40_000)
    assert abs(noisy.std() - 0.5) < 5 * 0.5 / math.sqrt(80_000)
    assert abs(((noisy - 9).abs() < 0.5).double().mean() - 0.6827) < 0.012  # a normal distribution's share within sigma
    clipped = 30 * levels_of(RandAugment(30, magnitude_std=3), 6)
    assert clipped.max() == 30 and (clipped == 30).double().mean() > 0.48
    bins = torch.bincount((30 * levels_of(TrivialAugment(), 3)).round().long(), minlength=31)
    assert len(bins) == 31
    assert (bins - 20_000 / 31).abs().max() < 5 * math.sqrt(20_000 / 31)
    severity = 10 * levels_of(AugMix(4), AugMix(4).columns, count=2000)
    assert 0.1 <= severity.min() < 0.11 and 3.99 < severity.max() < 4
    assert abs(severity.mean() - 2.05) < 0.02


# -------------------------------------------------------------------------------------------------------- AugMix


@pytest.mark.parametrize("policy", [AugMix(), AugMix(severity=7, width=2, depth=2), AugMix(width=1, depth=1)])
def test_augmix_is_the_papers_algorithm(policy: AugMix) -> None:
    """Algorithm 1 of arXiv:1912.02781, picture by picture and chain by chain, with the same draws."""
    pictures = np.stack([smooth_picture(24, 30, number) for number in range(20)])
    numbers = drawn(20, policy.columns, seed=3)
    result = policy.apply(torch.from_numpy(pictures), numbers, fill=(128,))
    spans = augmix_spans(24, 30)
    depths = Counter()
    for made, picture, row in zip(result.numpy(), pictures, numbers.double().numpy(), strict=True):
        share, weights, rest = row[0], row[1 : 1 + policy.width], row[1 + policy.width :].reshape(policy.width, -1)
        weights = -np.log(weights + HALF_STEP)
        weights /= weights.sum()
        mixed = np.zeros(picture.shape)
        for weight, chain in zip(weights, rest, strict=True):
            depth = policy.depth or 1 + int(3 * chain[0])
            depths[depth] += 1
            step = torch.from_numpy(picture)[None]
            for choice, sign, luck in chain[1 : 1 + 3 * depth].reshape(depth, 3):
                step = operate(
                    step,
                    spans,
                    torch.tensor([int(9 * choice)]),
                    torch.tensor([(0.1 + (policy.severity - 0.1) * luck) / 10], dtype=torch.float64),
                    torch.tensor([-1.0 if sign < 0.5 else 1.0], dtype=torch.float64),
                    fill=(128,),
                )
            mixed += weight * step[0].numpy()
        expected = (1 - share) * picture + share * mixed
        assert np.abs(made - expected).max() <= 0.5 + 1e-3
    assert set(depths) == ({policy.depth} if policy.depth else {1, 2, 3})


def test_augmix_weights_are_dirichlet_and_beta() -> None:
    """One chain white and the others black show its weight: of Dirichlet(1, 1, 1) mean 1/3 and variance 1/18."""
    count = 20_000
    policy = AugMix(depth=1)

    def whiten_first(pictures, *_, **__):
        white = torch.zeros_like(pictures)
        white[::3] = 240  # the first chain of each picture
        return white

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.data.policy.operate", whiten_first)
        numbers = drawn(count, policy.columns)
        numbers[:, 0] = 1 - 2.0**-24  # the mixture alone
        made = policy.apply(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), numbers, fill=(0,)).double() / 240
        assert abs(made.mean() - 1 / 3) < 5 * math.sqrt(1 / 18 / count)
        assert abs(made.var() - 1 / 18) < 0.002
        policy = AugMix(width=1, depth=1)
        patch.setattr("sightline.data.policy.operate", lambda pictures, *_, **__: torch.full_like(pictures, 240))
        made = policy.apply(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), drawn(count, policy.columns), fill=(0,))
    made = made.double() / 240  # Beta(1, 1)
    assert abs(made.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / count)
    assert abs(made.var() - 1 / 12) < 0.002


# ------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["rand-m20-n3-mstd2", "trivial", "augmix-m8-w3"])
def test_a_picture_is_the_same_alone_and_in_any_batch(name: str, channels: int) -> None:
    policy = policy_of(name)
    pictures = torch.from_numpy(np.stack([smooth_picture(24, 30, number, channels) for number in range(40)]))
    before, numbers = pictures.clone(), drawn(40, policy.columns)
    whole = policy.apply(pictures, numbers, fill=(128,))
    assert torch.equal(pictures, before)
    assert whole.shape == pictures.shape and whole.dtype == torch.uint8
    assert (whole != pictures).flatten(1).any(dim=1).sum() > 25
    for row in range(0, 40, 3):
        alone = policy.apply(pictures[row : row + 1], numbers[row : row + 1], fill=(128,))
        assert torch.equal(alone[0], whole[row]), row
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:17]
    assert torch.equal(policy.apply(pictures[order], numbers[order], fill=(128,)), whole[order])


@pytest.mark.parametrize("value", [0.0, 1 - 2.0**-24])
@pytest.mark.parametrize("name", ["rand-m9-n2", "rand-m9-n2-mstd0.5", "trivial", "augmix-m10-w2-d3"])
def test_the_least_and_the_greatest_random_number_are_taken(name: str, value: float) -> None:
    """The logarithm of 0 and the normal quantile of 0 and of 1 are infinite."""
    policy = policy_of(name)
    pictures = torch.from_numpy(smooth_picture(8, 9, 0))[None]
    asked: list[tuple[int, Tensor, Tensor]] = []

    def record(pictures, spans, choices, levels, signs, *, fill):
        asked.append((len(spans), choices, levels))
        return pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.data.policy.operate", record)
        result = policy.apply(pictures, torch.full((1, policy.columns), value), fill=(128,))
    assert torch.equal(result, pictures)  # nothing was changed, and a mean of equal pictures is that picture
    for count, choices, levels in asked:
        assert (choices == (0 if value == 0 else count - 1)).all()
        assert ((levels >= 0) & (levels <= 1)).all()


# --------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand", RandAugment(9, 2, 0.0)),
        ("rand-m9-n2", RandAugment(9, 2, 0.0)),
        ("rand-n3-m30-mstd0.5", RandAugment(30, 3, 0.5)),
        ("trivial", TrivialAugment()),
        ("augmix", AugMix(3, 3, None)),
        ("augmix-m5-w4-d2", AugMix(5, 4, 2)),
    ],
)
def test_names(text: str, policy: object) -> None:
    assert policy_of(text) == policy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random-m9", "aa is 'random-m9'; it must begin with rand, trivial, augmix. Nearest: rand."),
        ("", "aa is ''; it must begin with rand, trivial, augmix. Known: rand, trivial, augmix."),
        ("rand-m31", "aa is 'rand-m31'; m must be a whole number from 0 to 30, got 31."),
        ("rand-m9.5", "aa is 'rand-m9.5'; m must be a whole number from 0 to 30, got 9.5."),
        ("rand-n0", "aa is 'rand-n0'; n must be a whole number from 1 to 10, got 0."),
        ("rand-mstd31", "aa is 'rand-mstd31'; mstd must be a number from 0 to 30, got 31."),
        ("rand-m9-m9", "aa is 'rand-m9-m9'; after rand may stand, each once, m0..30, n1..10, mstd0..30, got 'm9'."),
        ("rand-w3", "aa is 'rand-w3'; after rand may stand, each once, m0..30, n1..10, mstd0..30, got 'w3'."),
        ("rand-m-9", "aa is 'rand-m-9'; after rand may stand, each once, m0..30, n1..10, mstd0..30, got 'm'."),
        (
            "rand-m9-mstd0.5-inc1",
            "aa is 'rand-m9-mstd0.5-inc1'; after rand may stand, each once, m0..30, n1..10, mstd0..30, got 'inc1'. "
            "Every operation here grows with m already, as with timm's inc1, and m goes to 30, timm's to 10.",
        ),
        ("trivial-m9", "aa is 'trivial-m9'; after trivial may stand, each once, nothing, got 'm9'."),
        ("augmix-m0", "aa is 'augmix-m0'; m must be a whole number from 1 to 10, got 0."),
        ("augmix-d11", "aa is 'augmix-d11'; d must be a whole number from 1 to 10, got 11."),
    ],
)
def test_names_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_of(text)
    assert str(caught.value) == message
