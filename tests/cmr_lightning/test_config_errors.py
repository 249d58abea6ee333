"""Rare errors of jsonargparse; `test_cli.py` has its messages about wrong options and files."""

import pytest

from cmr_lightning.config_errors import errors_for_people, explain
from cmr_lightning.errors import UserError


def test_unknown_complaint_is_passed_on() -> None:
    assert explain("Something else") == "Something else"


def test_error_for_the_user_is_unwrapped_with_its_cause() -> None:
    cause = KeyError("a")
    with pytest.raises(UserError, match="Fix it") as caught, errors_for_people():
        try:
            raise UserError("Fix it.") from cause
        except UserError as error:
            raise ValueError("does not validate") from error
    assert caught.value.__cause__ is cause


def test_another_error_keeps_its_cause() -> None:
    cause = KeyError("a")
    with pytest.raises(ValueError, match="no number") as caught, errors_for_people():
        raise ValueError("no number") from cause
    assert caught.value.__cause__ is cause
