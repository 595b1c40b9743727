"""Weights from the Hugging Face hub; the only user of huggingface_hub."""

from pathlib import Path

from sightline.bundle import CONFIG, WEIGHTS
from sightline.errors import BundleError, ConfigError, MissingExtraError
from sightline.pretrained.folder import PICKLED_WEIGHTS

PREFIX = "hf-hub:"  # timm's spelling


def download(name: str) -> tuple[Path, str]:
    """Fetches config.json and the weights of a repository, or finds them where an earlier run has put them.

    Args:
        name: "org/name", or "org/name@revision".

    Returns:
        The folder that holds them, and the revision: a commit.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ConfigError: there is no such repository or revision, or the hub cannot be reached.
        BundleError: the repository has no such files.
    """
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an extra
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("huggingface_hub", extra="hub", purpose=f"fetch {PREFIX}{name}") from None
    repository, _, revision = name.partition("@")
    lacking: list[Exception] = []

    def fetch(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repository, file, revision=revision or None))
        except EntryNotFoundError as error:
            lacking.append(error)
            return None

    try:
        config = fetch(CONFIG)
        weights = fetch(WEIGHTS) or fetch(PICKLED_WEIGHTS)
        if config is None or weights is None:
            # Without a connection nobody knows whether the hub has what no earlier run has fetched.
            for error in lacking:
                if isinstance(error, LocalEntryNotFoundError):
                    raise error
    except (OSError, ValueError) as error:  # connections and answers of the hub; names that are none
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"cannot fetch {PREFIX}{name}: {reason.rstrip('.')}. Check the name and the connection, or fetch the files "
            "elsewhere and give their folder."
        ) from None
    if config is None or weights is None:
        raise BundleError(
            f"{PREFIX}{name} has no {CONFIG if config is None else WEIGHTS}. Give a repository in timm's form."
        )
    return config.parent, config.parent.name
