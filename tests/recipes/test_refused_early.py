"""What cannot be trained is refused when it is planned, by `--dry-run` as by a training: before any decoding."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sightline as sl
from sightline.data.store import Store
from sightline.errors import ConfigError
from sightline.recipes.prepare import prepare
from sightline.recipes.settings import Settings

ONE_BATCH = {"batch_size": 8, "epochs": 2}
GREY = {"in_chans": 1, "model": "lenet5"}


def refused(**asked: object) -> str:
    """What a plan for 32 px pictures is refused with."""
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    data = (pictures, np.array(["cat", "dog"])[np.arange(40) % 2])
    with pytest.raises(ConfigError) as caught:
        prepare(data, Settings(**{"model": "resnet20", **ONE_BATCH, **asked}), Console(quiet=True))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "lenet5", "drop_path": 0.5}, "drop_path"),
        ({"model": "lenet5", "aux_heads": True}, "aux_heads"),
        ({"model": "resnet18", "memory_efficient": True}, "memory_efficient"),
        ({"model": "vgg11", "stem": "small"}, "stem"),
        ({"model": "vgg11", "img_size": 4}, "img_size is 4, and vgg11 does not take that"),
        ({"crop_padding": 40}, "crop_padding=40 reflects more than there is"),
        ({"workers": -3}, "workers is -3; it must be 0 or more."),
        ({**GREY, "color_jitter": (0.0, 0.0, 0.5, 0.1)}, "color_jitter is 0 0 0.5 0.1, and the pictures are grey"),
        ({"mixup": 0.2, "mixup_prob": 0.0}, "mixup_prob is 0"),
        ({"mixup": 0.2, "cutmix": 1.0, "mixup_switch_prob": 0.0}, "mixup_switch_prob is 0: cutmix is asked for, and"),
        ({"mixup": 0.2, "cutmix": 1.0, "mixup_switch_prob": 1.0}, "mixup_switch_prob is 1: mixup is asked for, and"),
        ({"head_epochs": 2, "lr": 0.7}, "lr: asked for, and without effect where the head learns alone"),
        ({"head_epochs": 2, "sched": "step"}, "sched: asked for, and without effect where the head learns alone"),
        ({"head_epochs": 2, "layer_decay": 0.5}, "layer_decay: asked for, and without effect where the head"),
        ({"grad_accum_steps": 8}, "grad_accum_steps is 8; it must be at most 4, for two pictures a part"),
    ],
)
def test_a_plan_that_cannot_be_trained(asked: dict[str, object], message: str) -> None:
    assert message in refused(**asked)


def test_a_training_is_refused_before_a_picture_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "build", lambda *_, **__: pytest.fail("decoded"))
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    with pytest.raises(ConfigError, match="img_size is 4"):
        sl.train(
            (pictures, np.array(["cat", "dog"])[np.arange(40) % 2]),
            settings=Settings(model="vgg11", img_size=4, batch_size=8, epochs=1),
            output=tmp_path / "run",
            console=Console(quiet=True),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_policy_of_the_recipe_can_be_turned_off() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), np.uint8)
    data = (pictures, np.array(["cat", "dog"])[np.arange(40) % 2])
    asked = Settings(recipe="scratch-small", **ONE_BATCH)  # type: ignore[arg-type]
    assert prepare(data, asked, Console(quiet=True)).plan.augment.aa == "trivial"
    asked = Settings(recipe="scratch-small", aa="none", **ONE_BATCH)  # type: ignore[arg-type]
    assert prepare(data, asked, Console(quiet=True)).plan.augment.aa is None
