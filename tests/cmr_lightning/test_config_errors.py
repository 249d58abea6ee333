"""Rare errors of jsonargparse; `test_cli.py` has its messages about wrong options and files."""

from pathlib import Path

import pytest

from cmr_lightning.config_errors import errors_for_people, explain
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import resolved_config


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


def test_what_a_class_raises_while_it_is_built_is_unwrapped() -> None:
    cause = TypeError("takes 1 positional argument")
    with pytest.raises(TypeError, match="takes 1") as caught, errors_for_people():
        raise ValueError("Does not validate against any of the Union subtypes") from cause
    assert caught.value is cause


def test_another_error_keeps_its_cause() -> None:
    cause = KeyError("a")
    with pytest.raises(ValueError, match="no number") as caught, errors_for_people():
        raise ValueError("no number") from cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("${model.init_args.drop}", "not found"),
        ("${oc.env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
        ("${oc.env:HOME", "BRACE_CLOSE"),
        ("${foo:1}", "Unsupported interpolation type foo"),
    ],
)
def test_an_interpolation_is_named_with_its_key_and_file(written: str, reason: str, toy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"trainer: {{default_root_dir: '{written}'}}")
    with pytest.raises(UserError, match=reason) as caught:
        resolved_config(["fit", f"--config={toy}", f"--config={other}"])
    assert f"trainer.default_root_dir: {written} in {other}" in str(caught.value)


def test_an_interpolation_of_the_command_line_is_named_with_its_key(toy: Path) -> None:
    with pytest.raises(UserError, match=r"interpolation at trainer\.default_root_dir cannot be resolved"):
        resolved_config(["fit", f"--config={toy}", "--trainer.default_root_dir=${nowhere}"])


def test_files_that_a_config_names_are_read_as_carefully(toy: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("class_path: DAML\ninit_args:\n  dim: 8\n  dim: 9\n")
    with pytest.raises(UserError, match=r"model\.yaml: the key init_args\.dim stands twice, in lines 3 and 4"):
        resolved_config(["fit", f"--config={toy}", f"--model={model}"])


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("Expected a dot import path string: FeatureMLP", "only where a parameter has a type"),
        ("Expected a dot import path string: FeatureMPL", "there is no class 'FeatureMPL'"),
        ("Expected an instantiatable class, but collections.abc.Sized is abstract", "must define __len__"),
    ],
)
def test_complaints_about_classes_name_what_is_missing(message: str, part: str) -> None:
    assert part in explain(f'Parser key "model": {message}')
