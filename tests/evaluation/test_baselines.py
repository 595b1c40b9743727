"""Classifiers on held features, against the same arithmetic in NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.data.catalog import ArrayImages, Catalog
from sightline.data.loader import EvalLoader
from sightline.data.preprocess import Preprocess
from sightline.data.store import Store
from sightline.errors import ConfigError, DataError
from sightline.evaluation import baselines as module
from sightline.evaluation import probe
from sightline.evaluation.baselines import NEIGHBOURS, baselines, linear_probe, nearest_neighbours
from sightline.evaluation.features import Features, features
from sightline.evaluation.probe import PENALTIES, solve
from sightline.metrics import mcnemar
from sightline.models import zoo
from sightline.models.base import Classifier

PREPROCESS = Preprocess((3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def clouds(count: int, *, seed: int, classes: int = 3, width: int = 4, spread: float = 1.0) -> Features:
    """Points around one centre a class, which do overlap; as many of each class as of any other."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = np.arange(count) % classes
    values = centres[labels] + spread * rng.normal(size=(count, width))
    return Features(torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels))


def loader(count: int = 10, *, batch_size: int = 4) -> EvalLoader:
    """Noise, in batches of which the last is smaller."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    catalog = Catalog(
        name="noise",
        root=None,
        classes=("a", "b"),
        images=ArrayImages(pixels, (("all", count),)),
        labels=np.arange(count) % 2,
        splits=np.zeros(count, np.uint8),
    )
    store, _ = Store.build(
        catalog, np.arange(count), preprocess=PREPROCESS, keep_margin=None, threads=1, skip_bad=False
    )
    return EvalLoader(store, PREPROCESS, batch_size=batch_size)


def built(name: str, **options: object) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return zoo.build(name, num_classes=2, **options)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- features


@torch.no_grad()
def test_features_are_what_the_head_is_given_in_evaluation_mode() -> None:
    net = built("simple_cnn")
    found = features(net, loader())
    pixels = loader().store.take(torch.arange(10))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    expected = net.eval().endpoints(images)["block3"].mean(dim=(2, 3))
    assert found.values.shape == (10, net.num_features) and found.values.dtype == torch.float32
    torch.testing.assert_close(found.values, expected, rtol=1e-5, atol=1e-5)
    assert found.labels.tolist() == [0, 1] * 5


def test_the_network_is_left_as_it_was() -> None:
    net = built("simple_cnn")
    net.block1.eval()
    modes = [each.training for each in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    features(net, loader())
    assert [each.training for each in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.fc._forward_pre_hooks


def test_the_network_is_left_as_it_was_by_an_error() -> None:
    net = built("simple_cnn", in_channels=1)
    with pytest.raises(ValueError, match="needs images of shape"):
        features(net, loader())
    assert net.training and not net.fc._forward_pre_hooks


@torch.no_grad()
def test_a_map_before_the_head_is_averaged_over_its_places() -> None:
    net = built("squeezenet1_1")
    found = features(net, loader(3))
    images = next(iter(loader(3))).images
    expected = net.eval().endpoints(images)["fire9"].mean(dim=(2, 3))
    torch.testing.assert_close(found.values, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_with_mirror_images_the_features_are_the_mean_of_both() -> None:
    plain, flipped = built("simple_cnn"), built("simple_cnn", tta="flip")
    images = next(iter(loader(3, batch_size=3))).images
    expected = (plain.eval().endpoints(images)["block3"] + plain.endpoints(images.flip(3))["block3"]).mean(
        dim=(2, 3)
    ) / 2
    torch.testing.assert_close(features(flipped, loader(3)).values, expected, rtol=1e-5, atol=1e-5)


def test_a_network_without_a_head_is_refused() -> None:
    message = (
        r"^Sequential has no head to take the input of: neither an attribute classifier_head nor an nn\.Linear\. "
        r"Give it the attribute\.$"
    )
    with pytest.raises(ConfigError, match=message):
        features(nn.Sequential(nn.Conv2d(3, 2, 1)), loader())


def test_no_pictures_have_no_features() -> None:
    assert [len(each) for each in features(built("simple_cnn"), [])] == [0, 0]


# -------------------------------------------------------------------------------------------------- nearest neighbours


def votes_by_hand(query: np.ndarray, memory: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The votes for one picture, in the words of the docstring."""
    cosines = memory @ query / (np.linalg.norm(memory, axis=1) * np.linalg.norm(query))
    votes = np.zeros(labels.max() + 1)
    for row in np.argsort(-cosines)[:k]:
        votes[labels[row]] += np.exp(cosines[row] / 0.07)
    return votes


def knn_by_hand(train: Features, asked: Features) -> tuple[int, list[int]]:
    """k by leaving each out in turn, and the answers."""
    memory, labels = train.values.numpy().astype(float), train.labels.numpy()
    rights = {}
    for k in [k for k in NEIGHBOURS if k < len(labels)]:
        rest = [np.delete(np.arange(len(labels)), row) for row in range(len(labels))]
        answers = [votes_by_hand(memory[row], memory[rest[row]], labels[rest[row]], k) for row in range(len(labels))]
        rights[k] = sum(int(votes.argmax() == label) for votes, label in zip(answers, labels, strict=True))
    best = max(k for k, right in rights.items() if right == max(rights.values()))
    return best, [int(votes_by_hand(query, memory, labels, best).argmax()) for query in asked.values.numpy()]


@pytest.mark.parametrize(("count", "spread", "seed"), [(12, 1.0, 1), (40, 0.5, 2), (60, 1.0, 3), (90, 2.0, 4)])
def test_nearest_neighbours_answer_as_numpy_does(count: int, spread: float, seed: int) -> None:
    train, asked = clouds(count, seed=seed, spread=spread), clouds(30, seed=seed + 100, spread=spread)
    k, answers = knn_by_hand(train, asked)
    found = nearest_neighbours(train, {"val": asked})
    assert found.setting == f"k = {k}"
    assert found.answers["val"].tolist() == answers
    assert found.scores["val"].value == pytest.approx(np.mean(np.array(answers) == asked.labels.numpy()))


def test_the_number_of_neighbours_is_not_always_the_same() -> None:
    settings = {nearest_neighbours(clouds(n, seed=s, spread=w), {}).setting for n, w, s in ((12, 1.0, 1), (90, 2.0, 4))}
    assert len(settings) == 2


def test_rows_are_looked_at_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    train, asked = clouds(40, seed=2), clouds(30, seed=102)
    whole = nearest_neighbours(train, {"val": asked})
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    parts = nearest_neighbours(train, {"val": asked})
    assert (parts.setting, parts.answers["val"].tolist()) == (whole.setting, whole.answers["val"].tolist())


def test_one_training_picture_is_every_ones_neighbour() -> None:
    one = Features(torch.ones(1, 3), torch.tensor([0]))
    assert nearest_neighbours(one, {"val": clouds(6, seed=0, width=3)}).answers["val"].tolist() == [0] * 6
    assert linear_probe(one, {"val": clouds(6, seed=0, width=3)}).answers["val"].tolist() == [0] * 6


# --------------------------------------------------------------------------------------------------------- linear probe


def regression_by_hand(x: np.ndarray, labels: np.ndarray, penalty: float, num_classes: int) -> np.ndarray:
    """The same minimum by Newton's method, with the whole matrix of second derivatives: (D + 1, K)."""
    x = np.hstack([x, np.ones((len(x), 1))])
    width = x.shape[1]
    targets = np.eye(num_classes)[labels]
    ridge = np.full((width, num_classes), penalty)
    ridge[-1] = 0
    weights = np.zeros((width, num_classes))

    def shares(weights: np.ndarray) -> np.ndarray:
        logits = x @ weights
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def loss(weights: np.ndarray) -> float:
        return float(-np.log((shares(weights) * targets).sum(axis=1)).mean() + (ridge * weights**2).sum() / 2)

    for _ in range(60):
        p = shares(weights)
        gradient = x.T @ (p - targets) / len(x) + ridge * weights
        spread = np.einsum("nk,kl->nkl", p, np.eye(num_classes)) - np.einsum("nk,nl->nkl", p, p)
        second = np.einsum("ni,nj,nkl->ikjl", x, x, spread).reshape(2 * [weights.size]) / len(x)
        second += np.diag(ridge.ravel())
        step = np.linalg.lstsq(second, gradient.ravel(), rcond=None)[0].reshape(weights.shape)
        size = 1.0
        while loss(weights - size * step) > loss(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * step
    return weights


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_logistic_regression_has_newtons_minimum(penalty: float) -> None:
    data = clouds(45, seed=5, spread=1.5)
    values = data.values.double()
    ours = solve(values, data.labels, penalty=penalty).numpy()
    theirs = regression_by_hand(values.numpy(), data.labels.numpy(), penalty, 3)
    # the biases are free up to a constant, which no answer depends on
    assert ours[:-1] == pytest.approx(theirs[:-1], abs=2e-4)
    assert np.diff(ours[-1]) == pytest.approx(np.diff(theirs[-1]), abs=2e-4)


def probe_by_hand(train: Features, asked: Features) -> tuple[float, list[int]]:
    """Scaling, the penalty by five parts held out in turn, and the answers."""
    raw, labels = train.values.numpy().astype(float), train.labels.numpy()
    mean = raw.mean(axis=0)
    length = np.sqrt(((raw - mean) ** 2).sum(axis=1).mean())
    x, num_classes = (raw - mean) / length, labels.max() + 1
    places = np.array([(labels[:row] == labels[row]).sum() for row in range(len(labels))])
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(5):
            out = places % 5 == fold
            weights = regression_by_hand(x[~out], labels[~out], penalty, num_classes)
            logits = x[out] @ weights[:-1] + weights[-1]
            total += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(out.sum()), labels[out]]).sum())
        losses.append(total)
    penalty = PENALTIES[int(np.argmin(losses))]
    weights = regression_by_hand(x, labels, penalty, num_classes)
    logits = (asked.values.numpy() - mean) / length @ weights[:-1] + weights[-1]
    return penalty, logits.argmax(axis=1).tolist()


@pytest.mark.parametrize(("count", "width", "spread"), [(30, 3, 0.8), (45, 3, 2.0)])
def test_the_probe_answers_as_numpy_does(count: int, width: int, spread: float) -> None:
    train = clouds(count, seed=7, width=width, spread=spread)
    asked = clouds(40, seed=107, width=width, spread=spread)
    penalty, answers = probe_by_hand(train, asked)
    found = linear_probe(train, {"val": asked})
    assert found.setting == f"L2 penalty {penalty:g}"
    assert found.answers["val"].tolist() == answers


def test_more_features_than_pictures_change_nothing_but_the_time() -> None:
    """The problem in the axes of the pictures has the minimum of the whole problem."""
    train, asked = clouds(15, seed=3, width=40), clouds(30, seed=103, width=40)
    found = linear_probe(train, {"val": asked})
    penalty = float(found.setting.removeprefix("L2 penalty "))
    mean = train.values.double().mean(dim=0)
    length = (train.values - mean).square().sum(dim=1).mean().sqrt()
    weights = solve((train.values - mean) / length, train.labels, penalty=penalty)
    answers = ((asked.values - mean) / length @ weights[:-1] + weights[-1]).argmax(dim=1)
    assert found.answers["val"].tolist() == answers.tolist()


def test_many_pictures_are_held_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(values: Tensor, labels: Tensor, **options: object) -> Tensor:
        calls.append(len(values))
        return solve(values, labels, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(probe, "solve", counted)
    linear_probe(clouds(45, seed=0), {})
    assert calls == [36] * (5 * len(PENALTIES)) + [45]
    calls.clear()
    monkeypatch.setattr(probe, "FOLDED_BELOW", 40)
    linear_probe(clouds(45, seed=0), {})
    assert calls == [36] * len(PENALTIES) + [45]


def test_a_class_with_one_picture_can_still_be_the_answer() -> None:
    train = Features(torch.tensor([[0.0, 1], [0, 1.1], [0, 0.9], [1, 0]]), torch.tensor([0, 0, 0, 1]))
    asked = Features(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert linear_probe(train, {"val": asked}).answers["val"].tolist() == [1]


def test_the_same_pictures_give_the_same_answers() -> None:
    train, asked = clouds(45, seed=11, spread=2.0), {"val": clouds(60, seed=12, spread=2.0)}
    for method in (linear_probe, nearest_neighbours):
        first, second = method(train, asked), method(train, asked)
        assert str(first) == str(second)
        assert first.answers["val"].tolist() == second.answers["val"].tolist()


# -------------------------------------------------------------------------------------------------------------- results


def test_both_baselines_on_one_look_through_the_pictures() -> None:
    net = built("simple_cnn")
    looks: list[int] = []
    net.fc.register_forward_hook(lambda module, args, output: looks.append(len(output)))
    neighbours, linear = baselines(net, loader(10), {"val": loader(7), "test": loader(5)})
    assert sum(looks) == 10 + 7 + 5
    assert (neighbours.method, linear.method) == ("nearest neighbours", "linear probe")
    for found in (neighbours, linear):
        assert list(found.scores) == ["val", "test"] and found.num_train == 10
        assert [len(answers) for answers in found.answers.values()] == [7, 5]
    rights = [each.answers["val"] == loader(7).store.labels.numpy() for each in (neighbours, linear)]
    assert 0 <= mcnemar(*rights).p_value <= 1


def test_the_words() -> None:
    train, asked = clouds(40, seed=2, spread=0.1), clouds(30, seed=3, spread=0.1)
    lines = str(nearest_neighbours(train, {"val": asked, "test": asked})).splitlines()
    # Wilson for 30 of 30: 1 / (1 + z^2 / n) = 0.8865
    start = "nearest neighbours (k = 20) on the features of 40 training pictures: 100.0% [88.6%, 100.0%] of 30"
    assert lines == [f"{start} val pictures", f"{start} test pictures"]


@pytest.mark.parametrize("method", [nearest_neighbours, linear_probe])
def test_nothing_to_learn_from_is_refused(method: object) -> None:
    nothing = Features(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(
        DataError, match=r"^there are no training pictures to learn from\. Give a part of the data that"
    ):
        method(nothing, {})  # type: ignore[operator]
