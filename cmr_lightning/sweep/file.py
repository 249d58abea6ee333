"""A sweep file in W&B's format: its parameters, its method and its command."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.yaml_file import read_yaml
from cmr_lightning.sweep.parameters import Parameter, read_parameters

METHODS = ("bayes", "random", "grid")

_FOR_THE_SERVER = ("name", "description", "project", "entity", "program")
_KEYS = ("command", "method", "metric", "parameters", "early_terminate", "run_cap", *_FOR_THE_SERVER)
_FORMS: Mapping[str, tuple[type, str]] = {
    "command": (list, "a list of words"),
    "method": (str, "a word"),
    "metric": (dict, "a name and a goal"),
    "parameters": (dict, "names with their distributions"),
    "early_terminate": (dict, "a type and its numbers"),
    "run_cap": (int, "a whole number"),
    "early_terminate.min_iter": (int, "a whole number"),
    "early_terminate.max_iter": (int, "a whole number"),
    "early_terminate.s": (int, "a whole number"),
    "early_terminate.eta": (int, "a whole number"),
}
_OURS = ("run_dir", "trainer.logger")  # options that W&B's agent needs, and our sweep sets itself or does not need


@dataclass(frozen=True)
class EarlyTermination:
    """W&B's `early_terminate` of type hyperband, with one bracket.

    After `min_iter` measurements, and again after each `eta` times as many, a trial continues only if its best score so
    far is among the best 1 / `eta` of all trials that got so far.
    """

    min_iter: int
    eta: int


@dataclass(frozen=True)
class SweepFile:
    """A file `experiments/sweeps/<dataset>_<method>.yaml`.

    Attributes:
        experiment: The experiment whose settings are varied.
        options: What the command sets besides the experiment, as on the command line.
        method: How settings are chosen: `bayes`, `random` or `grid`.
        metric: Name of the score on the validation part, e.g. `val/map@all/cos/label/mean`.
        early_terminate: When bad trials are ended; None for never.
        run_cap: How many trials there are to be; None if that is left open.
    """

    path: Path
    experiment: Path
    options: tuple[str, ...]
    method: str
    metric: str
    maximize: bool
    parameters: tuple[Parameter, ...]
    early_terminate: EarlyTermination | None
    run_cap: int | None


def read_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file.

    Raises:
        UserError: If the file is missing, or says something that is wrong or cannot be done on this machine.
    """
    content = read_yaml(path, "sweep file")
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no keys; a sweep file has {', '.join(_KEYS)}.")
    try:
        return _sweep(path, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _sweep(path: Path, content: Mapping[str, Any]) -> SweepFile:
    _refuse_unknown("", content, _KEYS)
    for key in ("command", "method", "metric", "parameters"):
        if not content.get(key):
            raise UserError(f"`{key}` is missing.")
    _refuse_other_forms("", content)
    if content["method"] not in METHODS:
        raise UserError(f"the method is {content['method']!r}, but must be one of {', '.join(METHODS)}.")
    experiment, options = _command(content["command"])
    metric = content["metric"]
    _refuse_unknown("metric.", metric, ("name", "goal"))
    if not str(metric.get("name")).startswith("val/"):
        raise UserError(
            f"the metric is {metric.get('name')}, but a sweep sees the validation part only: give a name under val/."
        )
    if metric.get("goal", "minimize") not in ("minimize", "maximize"):
        raise UserError(f"metric.goal is {metric['goal']!r}, but must be minimize or maximize.")
    parameters = tuple(read_parameters(content["parameters"]))
    endless = [p.key for p in parameters if p.drawn is not None and p.grid is None]
    if content["method"] == "grid" and endless:
        raise UserError(f"a grid needs lists of values, which {', '.join(endless)} does not have.")
    return SweepFile(
        path=path,
        experiment=experiment,
        options=options,
        method=content["method"],
        metric=metric["name"],
        maximize=metric.get("goal") == "maximize",
        parameters=parameters,
        early_terminate=_early_termination(content.get("early_terminate")),
        run_cap=content.get("run_cap"),
    )


def _refuse_unknown(where: str, content: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := [f"`{where}{key}`" for key in content if key not in known]:
        raise UserError(f"{', '.join(unknown)} cannot be obeyed on this machine; what can is {', '.join(known)}.")


def _refuse_other_forms(where: str, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        form, words = _FORMS.get(f"{where}{key}", (object, ""))
        if value is not None and (not isinstance(value, form) or (form is int and isinstance(value, bool))):
            raise UserError(f"`{where}{key}` is {value!r}, but must be {words}.")


def _early_termination(settings: Mapping[str, Any] | None) -> EarlyTermination | None:
    if settings is None:
        return None
    _refuse_unknown("early_terminate.", settings, ("type", "min_iter", "max_iter", "s", "eta"))
    _refuse_other_forms("early_terminate.", settings)
    if settings.get("type") != "hyperband" or ("min_iter" in settings) == ("max_iter" in settings):
        raise UserError("early_terminate must be of type hyperband, and have either min_iter or max_iter.")
    eta = settings.get("eta", 3)
    first = settings["min_iter"] if "min_iter" in settings else settings["max_iter"] // eta ** settings.get("s", 1)
    if eta < 2 or first < 1:
        raise UserError("early_terminate must have an eta of at least 2, and let each trial be measured once.")
    return EarlyTermination(first, eta)


def _command(words: Sequence[Any]) -> tuple[Path, tuple[str, ...]]:
    """Find the experiment and the other options of a command `... -m cmr_lightning fit --config EXPERIMENT ...`."""
    given = [str(word) for word in words]
    if "fit" not in given or "${args}" not in given:
        raise UserError("the command must call `fit` with an experiment, and hold ${args}.")
    found = list(options([word for word in given[given.index("fit") + 1 :] if word != "${args}"]))
    experiments = [Path(value) for key, value in found if key in ("config", "c")]
    if len(experiments) != 1:
        raise UserError("the command must name one experiment by --config.")
    left_out = ("config", "c", *_OURS)
    kept = [(key, value) for key, value in found if not any(f"{key}.".startswith(f"{name}.") for name in left_out)]
    return experiments[0], tuple(f"--{key}={value}" for key, value in kept)


def options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Split `--key=value` and `--key value` into keys and values.

    Examples:
        >>> list(options(["--model.dim=8", "--seed_everything", "3"]))
        [('model.dim', '8'), ('seed_everything', '3')]
    """
    waiting = iter(words)
    for word in waiting:
        key, equals, value = word.lstrip("-").partition("=")
        yield key, value if equals else next(waiting, "")
