"""Which run a command works on, and whether it can."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import refuse_locked
from cmr_lightning.files.names import check_name, check_path
from cmr_lightning.runs.run import Run


def run_of_command(command: str, configs: Sequence[Path], options: Any, trial: bool = False) -> Run:
    """Find the run that `fit`, `validate`, `test` or `predict` works on, and refuse what it cannot do there.

    Args:
        command: The command.
        configs: The config files that it was given.
        options: Its options `experiment`, `run_dir`, `seed_everything` and `ckpt_path`, and of `fit` also `resume` and
            `overwrite`; those that are left open are filled in.
        trial: Whether it is only tried, which neither needs a run nor leaves one.

    Raises:
        UserError: If the folder already holds a run, or lacks the checkpoint that the command needs, or another process
            works on it, or nothing can be called so.
    """
    if options.experiment is None:
        options.experiment = experiment_name(configs)
    default = f"runs/{check_name(options.experiment, 'experiment')}/seed{options.seed_everything}"
    given = Run(check_path(default if options.run_dir is None else options.run_dir, "--run_dir"))
    run = given if command == "fit" else run_of_config(configs) or given
    options.run_dir = str(run.path)
    _find_checkpoint(command, run, options)
    if trial:
        return run
    if command != "validate" and _is_first_process():
        refuse_locked(run.lock)
    if command == "fit":
        if int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0:
            options.resume = bool(run.checkpoints())
            options.overwrite = not options.resume
        if _is_first_process():  # the others find the folder in use
            run.check(options.resume, options.overwrite)
    elif options.ckpt_path is None and not run.best.exists():
        raise UserError(f"{run.best} does not exist; train the experiment with `fit` first, or give --ckpt_path.")
    return run


def _find_checkpoint(command: str, run: Run, options: Any) -> None:
    """Understand `--ckpt_path`: a file, or as in Lightning `best` or `last`, from which `fit` continues if it can."""
    if command == "fit" and options.ckpt_path == "best":
        raise UserError("--ckpt_path=best is not what `fit` continues from; give --ckpt_path=last, or a file.")
    if command == "fit" and options.ckpt_path == "last":
        options.ckpt_path, options.resume = None, bool(run.checkpoints())
    if options.ckpt_path is not None:
        path = {"best": run.best, "last": run.last}.get(options.ckpt_path, Path(options.ckpt_path))
        if not path.is_file():
            raise UserError(f"{path}, given as --ckpt_path, does not exist.")
        options.ckpt_path = str(path)


def _is_first_process() -> bool:
    """Tell whether this process is the first of its group, by what Lightning goes by before there is a trainer."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def experiment_name(configs: Sequence[Path]) -> str:
    """Join the names of config files by `+`: the path below the nearest folder `experiments`, or the file's own name.

    Raises:
        UserError: If no folder can be called so.

    Examples:
        >>> experiment_name([Path("experiments/wikipedia/daml.yaml")])
        'wikipedia/daml'
    """
    names = []
    for config in configs:
        parts = config.resolve().with_suffix("").parts
        nearest = max((i for i, part in enumerate(parts[:-1]) if part == "experiments"), default=len(parts) - 2)
        names.append("/".join(parts[nearest + 1 :]))
    first, *others = names or ["unnamed"]
    return check_name("+".join([first, *(name.replace("/", "-") for name in others)]), "experiment of these files")


def run_of_config(configs: Sequence[Path]) -> Run | None:
    """Find the run whose own `config.yaml` was given, wherever its folder has been moved to."""
    for config in configs:
        run = Run(config.parent)
        if config.name == run.config.name and run.best.parent.is_dir():
            return run
    return None
