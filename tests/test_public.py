"""The public surface, and that it is cheap to look at."""

import subprocess
import sys

import pytest

import sightline


def _modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_no_heavy_library() -> None:
    assert not {"torch", "numpy", "PIL", "matplotlib", "pydantic"} & _modules_after("import sightline")


def test_the_help_of_every_verb_imports_no_heavy_library() -> None:
    code = "import sightline.cli.main, typer.main; typer.main.get_command(sightline.cli.main.app)"
    assert not {"torch", "numpy", "PIL", "matplotlib", "pydantic"} & _modules_after(code)


def test_the_public_names_are_frozen() -> None:
    assert sightline.__all__ == [
        "Settings", "check", "create_model", "evaluate", "export", "find_lr", "inspect", "list_models", "load",
        "open_data", "receptive_field", "train",
    ]  # fmt: skip
    for name in sightline.__all__:
        assert callable(getattr(sightline, name)), name


def test_functions_are_not_hidden_by_modules_of_the_same_name() -> None:
    import sightline.evaluation
    import sightline.exporting
    import sightline.training.loop

    for name in ("train", "evaluate", "export"):
        assert callable(getattr(sightline, name))


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit'; public names: Settings, check"):
        _ = sightline.fit
