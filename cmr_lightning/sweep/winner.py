"""The winning experiment as a file: the experiment as it was written, with the best values in their places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.runs.settings import put


def write_winner(path: Path, experiment: Path, values: Mapping[str, Any], name: str, comment: str) -> None:
    """Write an experiment with other values.

    Args:
        path: Where the file goes.
        experiment: The experiment as it was written.
        values: Values by their dotted names.
        name: What runs of it are to be called.
        comment: The second line of the file, behind the command that runs it.
    """
    config = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    for key, value in values.items():
        put(config, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f"# python -m cmr_lightning fit --config {path} --experiment {name}\n"
    write_whole(path, header + f"# {comment}\n" + yaml.dump(config, Dumper=_Readable, sort_keys=False, width=120))


class _Readable(yaml.SafeDumper):
    """Writes small mappings and lists on one line."""


def _represent(dumper: yaml.SafeDumper, mapping: dict[str, Any]) -> yaml.Node:
    plain = not any(isinstance(value, dict) for value in mapping.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=plain and "class_path" not in mapping)


_Readable.add_representer(dict, _represent)
