"""W&B's sweep files, run on this machine with Optuna and no account."""

from importlib.util import find_spec

from cmr_lightning.errors import UserError


def require_optuna() -> None:
    """Refuse to go on without Optuna, which all other files of this folder import.

    Raises:
        UserError: If it is not installed.
    """
    if find_spec("optuna") is None:
        raise UserError("Sweeps on this machine need Optuna; install it with `pip install cmr_lightning[sweep]`.")
