"""`sweep`: the best settings of an experiment, searched for as a W&B sweep file says, on this machine."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cmr_lightning.errors import UserError
from cmr_lightning.files.names import check_name, check_path
from cmr_lightning.runs.fork_server import start_server


def require_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises:
        UserError: If it is not installed.
    """
    if find_spec("optuna") is None:
        raise UserError("Sweeps on this machine need Optuna; install it with `pip install cmr_lightning[sweep]`.")


def main(arguments: Sequence[str]) -> None:
    """Run what is left of a sweep file.

    Raises:
        UserError: If Optuna is not installed, the file is not right, or no trial succeeded.
    """
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning sweep",
        description="Search for the best settings of an experiment with Optuna, as a W&B sweep file says, without "
        "W&B. Every other option is one of `fit`, and holds for all trials.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, help="experiments/sweeps/<dataset>_<method>.yaml")
    parser.add_argument("--count", type=int, help="trials in all, finished ones included (default: the file's run_cap)")
    parser.add_argument("--jobs", type=int, default=1, help="trials at the same time; they share cores and GPUs")
    parser.add_argument("--folder", help="where everything is kept (default: runs/sweeps/<file's name>)")
    given, overrides = parser.parse_known_args(arguments[1:])
    require_optuna()
    from cmr_lightning.sweep.file import read_sweep

    sweep = read_sweep(given.config)
    count = given.count or sweep.run_cap
    if count is None or count < 1 or given.jobs < 1:
        raise UserError("Say by --count how many trials there are to be, at least 1, and give --jobs at least 1.")
    default = f"runs/sweeps/{check_name(sweep.path.stem, 'sweep', nested=False)}"
    folder = check_path(default if given.folder is None else given.folder, "--folder")
    start_server()
    from cmr_lightning.sweep.run_sweep import run_sweep  # it imports torch, while the server does

    run_sweep(sweep, folder, count, given.jobs, overrides)
