"""Files of the Hugging Face hub: from this machine's cache, else fetched, else one sentence on how to get them."""

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import constants

from cmr_lightning.errors import UserError

Loaded = TypeVar("Loaded")

_SECONDS_TO_ANSWER = 5.0


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
            f"{hub_id} is not in this machine's cache, and the hub cannot be reached or HF_HUB_OFFLINE is set; on a "
            f"machine that can, {remedy}."
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
