"""Settings of a training beside those of a later command: what is refused, and what is recorded."""

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.runs.settings import changes

Change = tuple[Any, Any]
"""A value before and now."""

_PLACES = ("data.root", "data.table", "data.*folder", "data.*path", "data.*workers", "data.eval_batch_size")
"""Where things lie and how fast they are read: what is read is compared by checksums."""

_OUTPUT = tuple(
    f"trainer.{key}*"
    for key in (
        "logger",
        "enable_progress_bar",
        "enable_model_summary",
        "enable_checkpointing",
        "log_every_n_steps",
        "profiler",
        "default_root_dir",
        "num_sanity_val_steps",
        "detect_anomaly",
    )
)
"""What a training says of itself."""

_LENGTH_AND_MACHINE = tuple(
    f"trainer.{key}"
    for key in (
        "max_*",
        "min_*",
        "devices",
        "num_nodes",
        "accelerator",
        "strategy*",
        "precision",
        "plugins*",
        "callbacks*",
    )
)
"""How long a training lasts, on what it runs and who watches it: a run may go on under others, which are recorded."""

_OF_TRAINING = ("model.*optimizer*", "model.schedule*", "model.compile", "model.*.weights", "model.*.vectors")
"""Settings of a model that do nothing to one whose weights are read."""


def changes_on_resume(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Change]:
    """Return the settings that a run goes on with instead of those that it was trained with.

    Raises:
        UserError: If there are others than may change within a run.
    """
    sections = ("seed_everything", "model", "data", "trainer")
    changed = _without(_changes(before, now, sections), (*_PLACES, *_OUTPUT))
    if refused := _without(changed, _LENGTH_AND_MACHINE):
        raise UserError(
            f"The run was trained with other settings: {in_words(refused)}; resume with those of the run, which "
            f"leaves them out, or start over with --overwrite=true."
        )
    return changed


def changes_in_use(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Change]:
    """Return the settings of data under which a model is used instead of those that it was trained with.

    Raises:
        UserError: If the model itself would be another.
    """
    if refused := _without(_changes(before, now, ("model",)), (*_PLACES, *_OF_TRAINING)):
        raise UserError(
            f"The model was trained with other settings: {in_words(refused)}; use those of its training, as the "
            f"config.yaml of its run has them."
        )
    return _without(_changes(before, now, ("data",)), ("data.batch_size", "data.epoch_of", *_PLACES))


def in_words(changed: Mapping[str, Change]) -> str:
    """Write changes in words.

    Examples:
        >>> in_words({"model.dim": (8, 9)})
        'model.dim was 8 and is 9'
    """
    own = {key for key in changed if not any(key.startswith(f"{other}.") for other in changed)}  # not of another class
    return ", ".join(f"{key} was {before} and is {now}" for key, (before, now) in changed.items() if key in own)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the data by their dotted names, but for where they lie and how fast they are read."""
    settings = {key: value for key, (_, value) in changes({}, {"data": config["data"]}).items()}
    return {key: value for key, value in settings.items() if not _matches(key, _PLACES)}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], sections: tuple[str, ...]) -> dict[str, Change]:
    old, new = ({section: config.get(section) for section in sections} for config in (before, now))
    return changes(old, new)


def _without(changed: Mapping[str, Change], patterns: tuple[str, ...]) -> dict[str, Change]:
    return {key: change for key, change in changed.items() if not _matches(key, patterns)}


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)
