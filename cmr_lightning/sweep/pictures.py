"""Optuna's pictures of a study: its history, and the parameters that its score depends on."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.trial import TrialState

from cmr_lightning.files.whole_file import whole_file

_WIDTH, _HEIGHT = 8, 4.5  # inches


def save_pictures(study: optuna.Study, metric: str, folder: Path) -> list[Path]:
    """Draw `history.png`, and if there are enough trials `slices.png` and `importance.png`; return their paths."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    params = sorted({name for trial in complete for name in trial.params})
    draw: Any = optuna.visualization.matplotlib
    drawn: dict[str, list[Any]] = {}
    with warnings.catch_warnings(), matplotlib.rc_context({"backend": "agg"}):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")
        history = draw.plot_optimization_history(study, target_name=metric)
        history.xaxis.set_major_locator(MaxNLocator(integer=True))
        history.get_legend().set(loc="lower right", bbox_to_anchor=(1, 0))
        drawn["history"] = [history]
        if len(complete) > 1 and params:
            drawn["slices"] = list(np.atleast_1d(draw.plot_slice(study, params=params, target_name=metric)))
            for axis in drawn["slices"]:
                _label_slice(axis)
        if len({trial.value for trial in complete}) > 1 and params:
            bars = draw.plot_param_importances(study, target_name=metric)
            bars.set_yticks(bars.get_yticks(), [_short(label.get_text()) for label in bars.get_yticklabels()])
            drawn["importance"] = [bars]
    return [_save(axes, folder / f"{name}.png") for name, axes in drawn.items()]


def _label_slice(axis: Any) -> None:
    """Make the labels below a slice as narrow as it is."""
    axis.set_xlabel(_short(axis.get_xlabel()).replace(".", ".\n").replace("_", "_\n"))
    if axis.get_xscale() == "log":
        low, high = np.log10(axis.get_xlim())
        inner = {f"{10 ** (low + share * (high - low)):.1g}" for share in (0.2, 0.8)}  # wide or not, it holds these
        axis.set_xticks([*map(float, inner)], [*inner])
        axis.xaxis.set_minor_formatter(NullFormatter())
    elif words := [label.get_text() for label in axis.get_xticklabels() if label.get_text().startswith("'")]:
        axis.set_xticks(axis.get_xticks(), [word.strip("'") for word in words], rotation=45, ha="right")


def _save(axes: list[Any], path: Path) -> Path:
    figure = axes[0].figure
    figure.set_size_inches(max(_WIDTH, _WIDTH / 3 * len(axes)), _HEIGHT)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    matplotlib.pyplot.close(figure)
    return path


def _short(name: str) -> str:
    """Shorten a dotted name by the parts that all have."""
    return name.replace("init_args.", "").removeprefix("model.")
