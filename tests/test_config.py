"""Settings files: every mistake is named with its place."""

from pathlib import Path

import pytest

from sightline.config import from_mapping, read_toml
from sightline.errors import ConfigError
from sightline.recipes.settings import Settings


def test_a_toml_file_gives_typed_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('model = "resnet18"\nbatch-size = 64\nlr = 1\nscale = [0.5, 1.0]\nmodel-ema = true\n')
    settings = read_toml(path, Settings)
    assert (settings.model, settings.batch_size, settings.lr) == ("resnet18", 64, 1.0)
    assert (settings.scale, settings.model_ema, settings.epochs) == ((0.5, 1.0), True, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'. Nearest: epochs, swa_epochs, head_epochs."),
        ('epochs = "ten"', "epochs is 'ten': Input should be a valid integer"),
        ("epochs = 2.5", "epochs is 2.5: Input should be a valid integer"),
        (
            'opt = "adan"',
            "opt is 'adan': Input should be 'sgd', 'momentum', 'rmsprop', 'adagrad', 'adam', 'adamw', 'lion' or "
            "'muon'.",
        ),
        ("epochs = ", "is not TOML: "),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_toml(path, Settings)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the settings file .*no.toml: No such file"):
        read_toml(tmp_path / "no.toml", Settings)


def test_keys_may_have_dashes() -> None:
    assert from_mapping({"weight-decay": 0.1}, Settings, source="flags").weight_decay == 0.1
