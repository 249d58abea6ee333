"""Files of the Hugging Face hub: from this machine's cache, else fetched, else one sentence on how to get them."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from cmr_lightning.errors import UserError

Loaded = TypeVar("Loaded")

_SECONDS_TO_ANSWER = 5.0


def local_folder(name: str, option: str) -> Path | None:
    """Return the folder of that name, or None if there is none and it may be a name on the hub.

    Raises:
        UserError: If it can be neither; `option` is the config key that gives it.

    Examples:
        >>> local_folder("google-bert/bert-base-uncased", "model.text_encoder.model")
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(
            f"The folder {name}, given as {option}, does not exist, and no repository of the hub can have that name."
        ) from None
    return None


def from_hub(load: Callable[[bool], Loaded], hub_id: str, files: str, option: str) -> Loaded:
    """Load files of the hub from the cache, and fetch them only if they are not there.

    Args:
        load: Loads the files, with True only from this machine. Raises OSError where it fails.
        hub_id: Repository of the files on the hub.
        files: The files, as the message names them.
        option: Config key that takes the path of a copy, and of what: `model.image_encoder.weights, a file or folder`.

    Raises:
        UserError: If the files are neither in the cache nor can be fetched.

    Examples:
        >>> from_hub(lambda cached: {"cached": cached}, "timm/resnet18", "weights", "model.weights, a file")
        {'cached': True}
    """
    try:
        return load(True)
    except OSError:
        reachable = _reachable()  # one request, as the clients of the hub try for half a minute without a network
    remedy = f"get {files} from {constants.ENDPOINT}/{hub_id} and give the path as {option}"
    if not reachable:
        raise UserError(
            f"{hub_id} is neither a folder here nor in this machine's cache, and the hub cannot be reached or "
            f"HF_HUB_OFFLINE is set; on a machine that can, {remedy}."
        )
    try:
        return load(False)
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{hub_id} could not be fetched ({reason}); {remedy}.") from error


def _reachable() -> bool:
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER):
            return True
    except urllib.error.HTTPError:  # an answer all the same
        return True
    except OSError:
        return False
