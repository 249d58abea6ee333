"""Messages as jsonargparse writes them; `test_cli.py` lets it write them itself."""

from __future__ import annotations

import pytest

from cmr_lightning.config_errors import errors_for_people, explain
from cmr_lightning.errors import UserError

NOT_AN_INT = """\
Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'cmr_lightning.embedding_model.EmbeddingModel'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'cmr_lightning.methods.daml.DAML':
        Parser key "dim":
          Expected a <class 'int'>. Got value: abc
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='dim', val='abc')
"""
NOT_AN_INT_OR_NONE = """\
Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: soon
"""
IN_A_FACTORY = """\
Parser key "model":
  Errors:
    - Problem with given class_path 'cmr_lightning.methods.daml.DAML':
        Parser key "image_encoder":
          Type collections.abc.Callable[[int], Module] expects a function or a callable class: Parser key "hidden":
            Expected a <class 'int'>. Got value: a. Got value: Namespace(class_path='FeatureMLP')
"""
NOT_A_CHOICE = """\
Parser key "model":
  Errors:
    - Problem with given class_path 'cmr_lightning.methods.daml.DAML':
        Parser key "adversary":
          Expected a typing.Literal['reversal', 'flipped']. Got value: revesal
"""
NO_CLASS = """\
Parser key "model":
  Errors:
    - Expected a dot import path string: DAMEL
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='class_path', val='DAMEL')
"""


@pytest.mark.parametrize(
    ("message", "explanation"),
    [
        (NOT_AN_INT, "model (DAML).dim: expected int; got abc"),
        (NOT_AN_INT_OR_NONE, "trainer.max_epochs: expected int; got soon"),
        (IN_A_FACTORY, "model (DAML).image_encoder.hidden: expected int; got a"),
        (NOT_A_CHOICE, "model (DAML).adversary: expected one of 'reversal', 'flipped'; got revesal"),
        (
            NO_CLASS,
            "model: there is no class 'DAMEL'; give the name of one of this package, or a full import path",
        ),
        ("Something new altogether", "Something new altogether"),
    ],
)
def test_one_sentence_names_the_setting_and_what_is_wrong(message: str, explanation: str) -> None:
    assert explain(message) == explanation


def test_an_error_for_people_is_unwrapped_with_its_cause() -> None:
    cause = KeyError("a")
    with pytest.raises(UserError, match="Mend it") as caught, errors_for_people():
        try:
            raise UserError("Mend it.") from cause
        except UserError as error:
            raise ValueError("does not validate") from error
    assert caught.value.__cause__ is cause


def test_another_error_keeps_its_cause() -> None:
    cause = KeyError("a")
    with pytest.raises(ValueError, match="no number") as caught, errors_for_people():
        raise ValueError("no number") from cause
    assert caught.value.__cause__ is cause
