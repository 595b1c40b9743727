"""Names find networks; what cannot be built is refused with a reason and a way out."""

import re

import pytest
import torch

from sightline.errors import ConfigError, ShapeError
from sightline.models import zoo
from sightline.models.resnet import ResNet


def test_names_match_patterns_in_the_tables_order() -> None:
    assert zoo.names() == list(zoo.ZOO)
    assert zoo.names("resnet1*") == ["resnet18", "resnet101", "resnet152", "resnet110", "resnet1202"]
    assert zoo.names("resnet?0") == ["resnet50", "resnet20"]
    assert zoo.names("[ls][ie]*") == ["simple_cnn", "lenet5", "lenet5_1998"]
    assert zoo.names("RESNET18") == zoo.names("") == zoo.names("resnet") == []


def test_every_row_says_where_it_is_from() -> None:
    for name, entry in zoo.ZOO.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert entry.paper and 1990 < entry.year < 2030
        assert str(entry.year) in entry.paper or entry.paper == "tutorials"
        assert entry.input_size[0] in (1, 3) and min(entry.input_size[1:]) >= 28


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet19", "resnet18"), ("lenet", "lenet5"), ("simplecnn", "simple_cnn"), ("airbench", "airbench94")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    message = rf"^there is no network '{name}'\. Nearest: (.*, )?{nearest}\b.*\. `sightline models` lists all\.$"
    with pytest.raises(ConfigError, match=message):
        zoo.build(name, num_classes=2)


def test_a_name_that_is_like_none_is_answered_with_the_first() -> None:
    with pytest.raises(ConfigError, match=r"^there is no network 'q'\. Known: simple_cnn, lenet5, .*, \.\.\.\. `sight"):
        zoo.build("q", num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; it must be a whole number, 1 or more."),
        ({"num_classes": 2, "in_channels": 0}, "in_channels is 0; it must be a whole number, 1 or more."),
        ({"num_classes": 2, "dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1."),
        ({"num_classes": 2, "dropout": -0.1}, "dropout is -0.1; it must be at least 0 and below 1."),
        ({"num_classes": 2, "dropout": float("nan")}, "dropout is nan; it must be at least 0 and below 1."),
        ({"num_classes": 2.5}, "num_classes is 2.5; it must be a whole number, 1 or more."),
        ({"num_classes": True}, "num_classes is True; it must be a whole number, 1 or more."),
        ({"image_size": 64}, "image_size is 64; it must be (height, width) in px, such as (224, 224)."),
        ({"in_chans": 1}, "networks have no option 'in_chans'. Here it is in_channels."),
        (
            {"features_only": True},
            "networks have no option 'features_only'. Here it is net.endpoints(images), of any network.",
        ),
        ({"num_classes": 2, "stem": "tiny"}, "stem is 'tiny'; it must be one of imagenet, small."),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(message)}$"):
        zoo.build("resnet18", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "option", "value", "others"),
    [
        ("simple_cnn", "stem", "small", "googlenet, googlenet_2014, resnet18, resnet34"),
        ("resnet20", "stem", "imagenet", "googlenet, googlenet_2014, resnet18, resnet34"),
        ("lenet5", "dropout", 0.1, "simple_cnn, alexnet, alexnet_2012, zfnet"),
        ("airbench94", "dropout", 0.0, "simple_cnn, alexnet, alexnet_2012, zfnet"),
    ],
)
def test_an_option_that_a_network_lacks_is_not_ignored(name: str, option: str, value: object, others: str) -> None:
    message = rf"^{name} has no {option} to choose, got {value!r}\. Leave it out, or take {others}\.$"
    with pytest.raises(ConfigError, match=message):
        zoo.build(name, num_classes=2, **{option: value})  # type: ignore[arg-type]


def test_lenet5_refuses_a_size_at_which_nothing_would_be_left() -> None:
    message = r"^LeNet5 needs images of at least 28x28 px, got 28x27 px\. Enlarge --img-size\.$"
    with pytest.raises(ShapeError, match=message):
        zoo.build("lenet5", num_classes=2, image_size=(28, 27))


@pytest.mark.parametrize(
    ("options", "stem", "reason"),
    [
        ({}, "imagenet", ""),
        ({"stem": "small"}, "small", "stem small: as asked"),
        ({"stem": "imagenet", "image_size": (32, 32)}, "imagenet", "stem imagenet: as asked"),
        (
            {"image_size": (96, 200)},
            "imagenet",
            "stem imagenet: pictures of 96x200 px are large enough for the paper's, made for 224x224 px",
        ),
        (
            {"image_size": (200, 95)},
            "small",
            "stem small: pictures of 200x95 px are under 96 px, too small for the paper's stem, made for 224x224 px",
        ),
        (
            {"image_size": (32, 32)},
            "small",
            "stem small: pictures of 32x32 px are under 96 px, too small for the paper's stem, made for 224x224 px",
        ),
    ],
)
def test_the_stem_is_chosen_by_the_size_and_the_reason_said(options: dict[str, object], stem: str, reason: str) -> None:
    net = zoo.build("resnet18", num_classes=2, **options)  # type: ignore[arg-type]
    assert isinstance(net, ResNet)
    assert (net.stem_reason, net.model_args["stem"]) == (reason, stem)
    assert net.conv1.kernel_size == ((7, 7) if stem == "imagenet" else (3, 3))
    assert zoo.build("resnet18", **net.model_args).conv1.weight.shape == net.conv1.weight.shape


def test_a_size_that_the_network_cannot_take_is_refused_at_once() -> None:
    message = r"^alexnet needs images of at least 63x63 px, got 32x32 px\. Enlarge --img-size"
    with pytest.raises(ShapeError, match=message):
        zoo.build("alexnet", image_size=(32, 32))


def test_networks_without_a_choice_give_no_reason() -> None:
    assert zoo.build("resnet20", num_classes=2, image_size=(32, 32)).stem_reason == ""


def test_arguments_that_were_asked_for_are_kept() -> None:
    net = zoo.build("simple_cnn", num_classes=3, in_channels=1, dropout=0.25)
    assert net.model_args == {"num_classes": 3, "in_channels": 1, "dropout": 0.25}
    assert net.get_submodule("dropout").p == 0.25
    assert zoo.build("simple_cnn", num_classes=3).get_submodule("dropout").p == 0.5  # its own
    lenet = zoo.build("lenet5", num_classes=3, in_channels=3, image_size=(40, 64))
    assert lenet.model_args == {"num_classes": 3, "in_channels": 3, "image_size": [40, 64]}
    assert lenet.fixed_size == (40, 64)


def test_flip_averages_the_picture_and_its_mirror_image_in_evaluation_alone() -> None:
    torch.manual_seed(0)
    plain = zoo.build("resnet20", num_classes=3).double()
    flipping = zoo.build("resnet20", num_classes=3, tta="flip").double()
    flipping.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    plain.eval(), flipping.eval()
    expected = (plain(images) + plain(torch.from_numpy(images.numpy()[..., ::-1].copy()))) / 2
    torch.testing.assert_close(flipping(images), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(flipping(images), plain(images))
    assert torch.equal(flipping.endpoints(images)["head"], plain(images))
    assert torch.equal(flipping.train()(images), plain.train()(images))
    assert "tta" not in plain.model_args
    again = zoo.build("resnet20", **flipping.model_args)
    assert again.tta == "flip"


def test_an_unknown_test_time_augmentation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^tta is 'mirror'; it must be one of none, flip\.$"):
        zoo.build("resnet20", tta="mirror")  # type: ignore[arg-type]
