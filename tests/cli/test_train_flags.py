"""The flags of `sightline train`: one for every setting, as timm spells them, on the command line as in TOML."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer.main
from typer.testing import CliRunner

from sightline.cli import train
from sightline.cli.main import app
from sightline.cli.number_flags import FLAGS, with_flags
from sightline.config import read_toml
from sightline.errors import ConfigError
from sightline.recipes.recipe import RECIPES
from sightline.recipes.settings import Settings

# Flags of `python train.py --help` of timm 1.0.31 that have the same meaning here.
TIMM = [
    "--model", "--pretrained", "--img-size", "--in-chans", "--crop-pct", "--mean", "--std", "--interpolation",
    "--batch-size", "--grad-accum-steps", "--opt", "--opt-eps", "--opt-betas", "--momentum", "--weight-decay",
    "--clip-grad", "--layer-decay", "--sched", "--lr", "--min-lr", "--epochs", "--warmup-epochs", "--decay-epochs",
    "--decay-milestones", "--decay-rate", "--scale", "--ratio", "--hflip", "--vflip", "--color-jitter", "--aa",
    "--reprob", "--remode", "--mixup", "--cutmix", "--mixup-prob", "--mixup-switch-prob", "--smoothing", "--drop",
    "--drop-path", "--model-ema", "--model-ema-decay", "--seed", "--workers", "--sync-bn", "--amp", "--device",
    "--output", "--config",
]  # fmt: skip


def train_settings(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Settings:
    """What `sightline train` makes of a command line."""
    seen: list[Settings] = []
    monkeypatch.setattr("sightline.recipes.run.train", lambda *_, settings, **__: seen.append(settings))
    result = CliRunner().invoke(app, ["train", "photos/", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def flags_of(verb: str) -> dict[str, Any]:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in command.params if parameter.param_type_name == "option"}


def test_there_is_a_flag_for_every_setting_and_no_other() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert flags_of("train").keys() - {"config", "output", "resume", "dry_run", "help"} == fields
    for name, flag in flags_of("train").items():
        if name in fields:
            assert f"--{name.replace('_', '-')}" in flag.opts, name


def test_every_flag_has_the_type_of_its_setting() -> None:
    flags, settings = get_type_hints(train.command), get_type_hints(Settings)
    for name, wanted in settings.items():
        (kind, _) = get_args(flags[name])
        (setting, _) = get_args(wanted)
        if get_origin(setting) is tuple and get_args(setting)[-1] is Ellipsis:  # as many numbers as there are
            assert f"--{name.replace('_', '-')}" in FLAGS
            setting = list[get_args(setting)[0]]  # type: ignore[misc]
        if name == "in_chans":  # checked with a message of ours
            setting = int
        assert kind == setting, name


def test_flags_are_spelled_as_timm_spells_them() -> None:
    ours = {spelling for flag in flags_of("train").values() for spelling in flag.opts}
    assert set(TIMM) <= ours


def test_the_search_for_a_rate_takes_the_same_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = flags_of("find-lr"), flags_of("train")
    assert theirs.keys() - ours.keys() == {"resume", "dry_run"}
    assert ours.keys() - theirs.keys() == {"as_json"}
    seen: list[tuple[Any, Settings]] = []
    monkeypatch.setattr(
        "sightline.recipes.find_lr.find_lr", lambda data, *, settings, output: seen.append((data, settings))
    )
    (tmp_path / "run.toml").write_text('recipe = "textbook"\nepochs = 3\n')
    line = ["find-lr", "photos", "--stem", "small", "--mean", "0.5", "0.4", "--recipe", "best", "--pretrained"]
    line += ["-b", "8", "--amp", "--scale", "0.5", "1"]
    done = CliRunner().invoke(app, [*line, "-c", str(tmp_path / "run.toml")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert seen == [
        ("photos", Settings(stem="small", mean=(0.5, 0.4), recipe="best", pretrained="auto", batch_size=8, amp=True,
                            scale=(0.5, 1.0), epochs=3))
    ]  # fmt: skip


def test_every_flag_has_help() -> None:
    for parameter in inspect.signature(train.command).parameters.values():
        (_, option) = get_args(parameter.annotation)
        assert option.help, parameter.name


# one value for every setting, written as on the command line and as in TOML
EVERYTHING: dict[str, tuple[list[str], str]] = {
    "recipe": (["best"], '"best"'), "model": (["resnet18"], '"resnet18"'), "pretrained": (["w.pth"], '"w.pth"'),
    "stem": (["small"], '"small"'), "drop": (["0.1"], "0.1"), "drop_path": (["0.2"], "0.2"),
    "tta": (["flip"], '"flip"'), "img_size": (["64"], "64"), "in_chans": (["3"], "3"),
    "interpolation": (["bilinear"], '"bilinear"'), "crop_pct": (["0.9"], "0.9"),
    "mean": (["0.5", ".4", "4e-1"], "[0.5, 0.4, 0.4]"), "std": (["1"], "[1]"),
    "epochs": (["7"], "7"), "batch_size": (["8"], "8"), "grad_accum_steps": (["2"], "2"), "lr": (["1e-3"], "1e-3"),
    "opt": (["lion"], '"lion"'), "momentum": (["0.8"], "0.8"), "opt_betas": (["0.9", "0.95"], "[0.9, 0.95]"),
    "opt_eps": (["1e-6"], "1e-6"), "sched": (["multistep"], '"multistep"'), "warmup_epochs": (["0.5"], "0.5"),
    "min_lr": (["1e-5"], "1e-5"), "decay_epochs": (["2.4"], "2.4"),
    "decay_milestones": (["90", "180"], "[90, 180]"), "decay_rate": (["0.5"], "0.5"), "layer_decay": (["0.8"], "0.8"),
    "head_epochs": (["2"], "2"), "head_lr": (["0.01"], "0.01"), "loss": (["focal"], '"focal"'),
    "focal_gamma": (["1.5"], "1.5"), "class_weights": (["effective"], '"effective"'),
    "sampler": (["balanced"], '"balanced"'), "weight_decay": (["0.05"], "0.05"), "smoothing": (["0.1"], "0.1"),
    "clip_grad": (["1"], "1.0"), "model_ema_decay": (["0.99"], "0.99"), "swa_epochs": (["3"], "3"),
    "patience": (["4"], "4"), "max_rollbacks": (["1"], "1"), "hflip": (["0.5"], "0.5"), "vflip": (["0.1"], "0.1"),
    "crop_padding": (["4"], "4"), "scale": (["0.3", "1"], "[0.3, 1.0]"), "ratio": (["0.7", "1.4"], "[0.7, 1.4]"),
    "rotation": (["15"], "15"), "color_jitter": (["0.4", "0.4", "0.4", "0.1"], "[0.4, 0.4, 0.4, 0.1]"),
    "aa": (["rand-m9-n2"], '"rand-m9-n2"'), "reprob": (["0.25"], "0.25"), "remode": (["pixel"], '"pixel"'),
    "mixup": (["0.2"], "0.2"), "cutmix": (["1.0"], "1.0"), "mixup_prob": (["0.5"], "0.5"),
    "mixup_switch_prob": (["0.3"], "0.3"), "val_fraction": (["0.1"], "0.1"), "test_fraction": (["0.2"], "0.2"),
    "seed": (["3"], "3"), "device": (["cpu"], '"cpu"'), "threads": (["2"], "2"), "workers": (["1"], "1"),
    "checkpoint_every": (["10"], "10"),
    "folds": (["5"], "5"),
    "fold": (["0"], "0"),
    "group_by": (["folder"], '"folder"'),
    "class_map": (["classes.txt"], '"classes.txt"'),
    **{name: ([], "true") for name in (
        "smoke", "aux_heads", "memory_efficient", "model_ema", "alternating_flip", "amp", "compile", "sync_bn", "fsdp",
        "skip_bad", "allow_leaks", "cache", "stream", "freeze_bn",
    )},
}  # fmt: skip


def test_a_command_line_and_a_file_that_say_the_same_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EVERYTHING.keys() == {field.name for field in dataclasses.fields(Settings)}
    arguments = [
        word for name, (words, _) in EVERYTHING.items() for word in (f"--{name.replace('_', '-')}", *words)
    ]  # fmt: skip
    text = "\n".join(f"{name.replace('_', '-')} = {value}" for name, (_, value) in EVERYTHING.items())
    (tmp_path / "run.toml").write_text(text)
    settings = train_settings(monkeypatch, *arguments)
    assert settings == read_toml(tmp_path / "run.toml", Settings)
    assert None not in dataclasses.asdict(settings).values()
    assert settings.decay_milestones == (90.0, 180.0)
    assert settings.opt_betas == (0.9, 0.95)
    assert settings == train_settings(monkeypatch, "-c", str(tmp_path / "run.toml"))


def test_flags_win_over_the_file_number_by_number_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text("decay-milestones = [1, 2]\nmean = [0.1]\namp = true\n")
    settings = train_settings(monkeypatch, "-c", str(tmp_path / "run.toml"), "--decay-milestones", "9", "--no-amp")
    assert settings == Settings(decay_milestones=(9.0,), mean=(0.1,), amp=False)
    assert train_settings(monkeypatch) == Settings()


def test_the_data_may_stand_before_or_behind_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Settings]] = []
    monkeypatch.setattr("sightline.recipes.run.train", lambda data, *, settings, **_: seen.append((data, settings)))
    for line in (
        ["photos", "--mean", "0.5", "-b", "8"],
        ["--mean", "0.5", "photos", "-b", "8"],
        ["-b", "8", "--mean", "0.5", "--", "photos"],
        ["--mean=0.5", "--pretrained", "photos", "-b", "8"],
    ):
        assert CliRunner().invoke(app, ["train", *line], catch_exceptions=False).exit_code == 0
    assert {data for data, _ in seen} == {"photos"}
    assert {(settings.mean, settings.batch_size) for _, settings in seen} == {((0.5,), 8)}
    assert seen[3][1].pretrained == "auto"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--mean", "1", "2", "3"], ["--mean=1", "--mean=2", "--mean=3"]),
        (["--decay-milestones", "30", "-b", "8"], ["--decay-milestones=30", "-b", "8"]),
        (["--std", "-1", "1.", ".5", "+1e-3"], ["--std=-1", "--std=1.", "--std=.5", "--std=+1e-3"]),
        (["--mean", "photos", "3"], ["--mean", "photos", "3"]),
        (["--mean"], ["--mean"]),
        (["--lr", "1", "2"], ["--lr", "1", "2"]),
        (["--", "--mean", "1", "2"], ["--", "--mean", "1", "2"]),
        (["--mean", "nan", "inf", "1_0", "0x1"], ["--mean", "nan", "inf", "1_0", "0x1"]),
    ],
)
def test_numbers_behind_a_flag_are_its_own(given: list[str], read: list[str]) -> None:
    assert with_flags(given) == read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "fats"], "'fats' is not one of 'textbook', 'fast', 'best', 'finetune', 'scratch-small'"),
        (["--opt", "lino"], "'lino' is not one of 'sgd', 'momentum', 'rmsprop', 'adagrad', 'adam', 'adamw', 'lion'"),
        (["--opt-betas", "0.9"], "Option '--opt-betas' requires 2 arguments"),
        (["--mean", "grey"], "Invalid value for '--mean': Input should be a valid number"),
        (["--decay-milestones"], "Option '--decay-milestones' requires an argument"),
        (["--color-jitter", "0.4"], "Option '--color-jitter' requires 4 arguments"),
    ],
)
def test_a_value_that_cannot_be_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["train", "photos/", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert message in re.sub(r"\s+", " ", result.output.replace("│", " "))


def test_numbers_of_a_wrong_kind_are_refused_with_our_message() -> None:
    with pytest.raises(ConfigError, match=r"flags: in_chans is 2: Input should be 1 or 3\."):
        CliRunner().invoke(app, ["train", "photos/", "--in-chans", "2"], catch_exceptions=False)


def test_the_help_can_be_read_at_80_columns() -> None:
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert max(map(len, result.output.splitlines())) <= 80
    assert "…" not in result.output
    for name in (field.name for field in dataclasses.fields(Settings)):
        assert f"--{name.replace('_', '-')} " in result.output, name
    assert "Example: sightline train" in result.output


# -------------------------------------------------------------------------------------------------- sightline recipes


def test_the_recipes_are_listed_with_purpose_cost_and_score() -> None:
    result = CliRunner().invoke(app, ["recipes"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    titles = [line.partition(":")[0] for line in result.output.splitlines() if re.match(r"\S", line)]
    assert titles == [*RECIPES, "sightline recipes NAME also tells the sources, and the file to copy from."]
    assert result.output.count("  cost: ") == result.output.count("  score: ") == len(RECIPES)


def test_one_recipe_tells_its_sources_and_its_file() -> None:
    result = CliRunner().invoke(app, ["recipes", "fast"], env={"COLUMNS": "100"})
    assert result.output.startswith("fast: The shortest time to a good score.\n")
    assert "arXiv:2404.00498" in result.output
    assert "recipes/fast.py" in re.sub(r"\s+", "", result.output)


def test_recipes_as_json() -> None:
    found = json.loads(CliRunner().invoke(app, ["recipes", "--json"]).output)
    assert [row["name"] for row in found] == list(RECIPES)
    assert set(found[0]) == {"name", "purpose", "cost", "score", "sources", "file"}
    (one,) = json.loads(CliRunner().invoke(app, ["recipes", "best", "--json"]).output)
    assert one == found[2]


def test_an_unknown_recipe_is_one_message() -> None:
    with pytest.raises(ConfigError, match=r"^there is no recipe 'fats'\. Nearest: fast\.$"):
        CliRunner().invoke(app, ["recipes", "fats"], catch_exceptions=False)


def test_recipes_answer_without_torch() -> None:
    import subprocess
    import sys

    code = "import sightline.cli.recipes as r, sys; r.command('fast'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
