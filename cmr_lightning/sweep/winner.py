"""The winning experiment as a file: the experiment as it was written, with the best values in their places."""

from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from cmr_lightning.errors import UserError
from cmr_lightning.experiment import resolved_config
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.files.yaml_file import load_yaml, read_settings
from cmr_lightning.runs.planned_run import without_names
from cmr_lightning.runs.run import command_line
from cmr_lightning.runs.run_of_command import experiment_name
from cmr_lightning.runs.settings import put
from cmr_lightning.sweep.file import options
from cmr_lightning.sweep.trials import Trials


def write_winner(trials: Trials, count: int, best: FrozenTrial) -> Path:
    """Write the experiment of the best of `count` trials into the folder of the sweep; return its path.

    Raises:
        UserError: If the file cannot say what the options of the trial do.
    """
    experiment, name = trials.sweep.experiment, experiment_name([trials.sweep.experiment])
    path = trials.folder / "experiments" / f"{name}.yaml"
    config = dict(read_settings(experiment, "experiment"))
    set_for_all = {key: load_yaml(value) for key, value in options((*trials.sweep.options, *trials.overrides))}
    for key, value in {**set_for_all, **trials.values(best)}.items():
        put(config, key, value)
    found_by = f"Trial {best.number}, the best of {len(trials.ended(count))} of {trials.sweep.path}, seed {trials.seed}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        path,
        f"# {command_line('fit', '--config', path, '--experiment', f'{name}_tuned')}\n"
        f"# {found_by}: {trials.sweep.metric} {best.value:.4f}.\n"
        + yaml.dump(config, Dumper=_Readable, sort_keys=False, width=120),
    )
    written, run = (resolved_config(fit) for fit in (["fit", f"--config={path}"], trials.planned(best).fit))
    if without_names(written) != without_names(run):
        raise UserError(
            f"The winning settings cannot be written into {experiment} as its options do on the command line; "
            f"{trials.run(best.number).config} holds them in full."
        )
    return path


class _Readable(yaml.SafeDumper):
    """Writes small mappings and lists on one line."""


def _represent(dumper: yaml.SafeDumper, mapping: dict[str, Any]) -> yaml.Node:
    plain = not any(isinstance(value, dict) for value in mapping.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=plain and "class_path" not in mapping)


_Readable.add_representer(dict, _represent)
