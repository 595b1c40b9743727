"""What a loaded bundle answers: the formula, order, lists, bad pictures, precision."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.bundle import open_bundle, save_bundle
from sightline.errors import BundleError, ConfigError, DataError
from sightline.predict import Prediction, Predictor, load
from tests.bundles import CLASSES, tiny_bundle


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(tiny_bundle(tmp_path_factory.mktemp("bundle")), device="cpu")


def pictures(count: int, size: tuple[int, int] = (32, 32)) -> list[np.ndarray]:
    """Coarse colour patterns, uint8 (H, W, 3)."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(each).resize(size[::-1])) for each in coarse]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path, pixels in zip(paths, pictures(9, (40, 50)), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_probabilities_are_the_softmax_of_the_networks_answer_over_the_temperature(predictor: Predictor) -> None:
    pixels = pictures(1)[0]
    mean, std = torch.tensor([0.49, 0.45, 0.4]), torch.tensor([0.25, 0.22, 0.27])
    image = ((torch.from_numpy(pixels.copy()) / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = open_bundle(predictor.path).build_model().double()(image.double())[0].numpy()
    powers = np.exp(logits / 1.4)  # 1.4 is the temperature of the bundle
    answer = predictor.predict(pixels)
    assert answer.probabilities.dtype == np.float32
    assert answer.probabilities == pytest.approx(powers / powers.sum(), abs=1e-6)
    assert answer.index == logits.argmax()
    assert answer.label == CLASSES[answer.index]
    assert answer.probability == answer.probabilities[answer.index]


def test_temperature_changes_the_probability_and_not_the_answer(tmp_path: Path, predictor: Predictor) -> None:
    hot = load(tiny_bundle(tmp_path / "hot", temperature=5.0), device="cpu")
    for first, second in zip(predictor.predict(pictures(20)), hot.predict(pictures(20)), strict=True):
        assert first.label == second.label
        assert first.probability > second.probability + 0.05


def test_the_bundles_preprocessing_is_used(tmp_path: Path, predictor: Predictor) -> None:
    wide = pictures(1, (64, 128))[0]
    cropped = np.asarray(Image.fromarray(wide).resize((64, 32), Image.Resampling.BICUBIC))[:, 16:48]
    assert predictor.predict(wide).probabilities == pytest.approx(predictor.predict(cropped).probabilities, abs=1e-6)


def test_a_list_gives_a_list_in_its_order(predictor: Predictor, files: list[Path]) -> None:
    answers = predictor.predict(files, batch_size=4)
    assert [answer.source for answer in answers] == [str(path) for path in files]
    assert [answer.label for answer in answers] == [predictor.predict(path).label for path in files]
    assert len({answer.label for answer in answers}) > 1
    assert predictor.predict(tuple(files), batch_size=4) == answers
    assert predictor.predict([]) == []


@pytest.mark.parametrize("model", ["simple_cnn", "lenet5", "resnet20"])
def test_batch_size_changes_no_answer(tmp_path: Path, model: str) -> None:
    predictor = load(tiny_bundle(tmp_path, model=model), device="cpu")
    alone = np.stack([predictor.predict(picture).probabilities for picture in pictures(13)])
    for batch_size in (2, 7, 64):
        together = np.stack([each.probabilities for each in predictor.predict(pictures(13), batch_size=batch_size)])
        assert np.abs(alone - together).max() < 1e-5


def test_top_names_the_most_probable_classes_best_first(predictor: Predictor) -> None:
    answer = predictor.predict(pictures(1)[0], top_k=3)
    pairs = zip(CLASSES, answer.probabilities.tolist(), strict=True)
    assert answer.top == tuple(sorted(pairs, key=lambda pair: -pair[1])[:3])
    assert answer.top[0] == (answer.label, answer.probability)
    assert len(predictor.predict(pictures(1)[0], top_k=100).top) == len(CLASSES)


def test_of_equal_classes_the_first_is_named_first(tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "a"))
    net = bundle.build_model()
    with torch.no_grad():
        net.classifier_head.weight.zero_()
        net.classifier_head.bias.copy_(torch.tensor([0.0, 1, 0, 1, 0, 1, 0]))
    tied = save_bundle(tmp_path / "b", net=net, model_name="simple_cnn", classes=CLASSES, preprocess=bundle.preprocess)
    answer = load(tied.path, device="cpu").predict(pictures(1)[0], top_k=5)
    assert [label for label, _ in answer.top] == ["bee", "dog", "fox", "ant", "cat"]
    assert answer.label == "bee"


def test_one_bad_picture_is_named_with_its_reason(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"^.*empty\.png: the file is empty\.$"):
        predictor.predict(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"^a picture of 5 bytes: is none of JPEG, PNG"):
        predictor.predict(b"hello")


def test_a_list_with_bad_pictures_names_all_of_them(predictor: Predictor, files: list[Path]) -> None:
    files[2].write_bytes(b"")
    sources = [*files, np.zeros((2, 2), np.float32), "no/such.png"]
    with pytest.raises(DataError) as caught:
        predictor.predict(sources)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 11 pictures cannot be read:"
    assert lines[1] == f"  {files[2]}: the file is empty"
    assert lines[2].startswith("  picture 10 of 11 (an array of float32 (2, 2)): must be uint8")
    assert lines[3].startswith("  no/such.png: ")
    assert lines[4] == "Leave them out or repair them; predict_many() answers the others all the same."


def test_a_long_list_of_bad_pictures_is_cut(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"25 of 25 pictures cannot be read:(\n.*){20}\n  and 5 more\nLeave them out"):
        predictor.predict([b"x"] * 25)


def test_predict_many_answers_the_good_ones_and_lists_the_bad(predictor: Predictor, files: list[Path]) -> None:
    expected = [predictor.predict(path) for path in files]
    for number in (0, 3, 4, 5, 8):  # with 2 at a time: a bad one first, a batch of bad ones, a bad one last
        files[number].write_bytes(b"no picture")
    answers, problems = predictor.predict_many(files, batch_size=2)
    for answer, number in zip(answers, (1, 2, 6, 7), strict=True):
        assert (answer.source, answer.label) == (expected[number].source, expected[number].label)
        assert answer.probabilities == pytest.approx(expected[number].probabilities, abs=1e-5)
    assert [problem.path for problem in problems] == [str(files[number]) for number in (0, 3, 4, 5, 8)]
    assert all(problem.reason.startswith("is none of JPEG") for problem in problems)


def test_sources_without_a_path_are_told_apart_by_their_place(predictor: Predictor, files: list[Path]) -> None:
    answers = predictor.predict([files[0].read_bytes(), str(files[0]), Image.open(files[0])])
    size = files[0].stat().st_size
    assert [answer.source for answer in answers] == [
        f"picture 1 of 3 (a picture of {size} bytes)",
        str(files[0]),
        "picture 3 of 3 (a PIL image of mode RGB)",
    ]


def test_the_same_unread_image_may_stand_in_a_list_many_times(predictor: Predictor, files: list[Path]) -> None:
    content = files[0].read_bytes()
    before = torch.get_num_threads()
    torch.set_num_threads(4)  # as many threads decode
    try:
        for _ in range(10):
            image = Image.open(io.BytesIO(content))
            assert len({answer.label for answer in predictor.predict([image] * 16)}) == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("top_k", "batch_size"), [(0, 64), (5, 0), (-1, 1)])
def test_numbers_below_one_are_refused(predictor: Predictor, top_k: int, batch_size: int) -> None:
    message = f"top_k is {top_k} and batch_size is {batch_size}; both must be 1 or more"
    with pytest.raises(ConfigError, match=message):
        predictor.predict(pictures(1)[0], top_k=top_k, batch_size=batch_size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "a"))
    net = bundle.build_model()
    with torch.no_grad():
        net.classifier_head.bias[1] = value
    spoiled = save_bundle(
        tmp_path / "b", net=net, model_name="simple_cnn", classes=CLASSES, preprocess=bundle.preprocess
    )
    with pytest.raises(
        BundleError, match=rf"the network of .*b answers {value}: its weights are spoiled\. Train it again"
    ):
        load(spoiled.path, device="cpu").predict(pictures(1)[0])


def test_what_the_process_chose_for_its_training_does_not_reach_the_answers(predictor: Predictor) -> None:
    expected = predictor.predict(pictures(4))[3].probabilities
    torch.set_float32_matmul_precision("medium")
    chosen = torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    inside: list[tuple[str, str]] = []

    def look(*_: object) -> None:
        inside.append((torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))

    hook = predictor.net.register_forward_pre_hook(look)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = predictor.predict(pictures(4))[3].probabilities
            assert torch.is_autocast_enabled("cpu")
        assert (found == expected).all()
        assert inside == [("ieee", "ieee")]
        assert torch.get_float32_matmul_precision() == "medium"
        assert (torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == chosen
    finally:
        hook.remove()
        torch.set_float32_matmul_precision("highest")


def test_several_threads_may_ask_at_once(predictor: Predictor) -> None:
    expected = predictor.predict(pictures(8))
    found: list[list[Prediction]] = []
    threads = [threading.Thread(target=lambda: found.append(predictor.predict(pictures(8)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6


def test_loading_leaves_the_number_of_threads_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        load(tiny_bundle(tmp_path), device="cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_predictor_says_where_it_is_from_and_what_it_knows(predictor: Predictor) -> None:
    assert predictor.classes == CLASSES
    assert (predictor.path / "config.json").is_file()
    assert not predictor.net.training


def test_probabilities_take_tensors_and_arrays_of_the_networks_size(predictor: Predictor) -> None:
    stack = np.stack(pictures(3))
    from_array = predictor.probabilities(stack)
    from_tensor = predictor.probabilities(torch.from_numpy(stack))
    flipped_twice = predictor.probabilities(stack[:, ::-1][:, ::-1])  # a view with negative strides inside
    assert (from_array == from_tensor).all()
    assert (from_array == flipped_twice).all()
    assert from_array.sum(axis=1) == pytest.approx(1, abs=1e-6)
