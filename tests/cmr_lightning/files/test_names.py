import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.files.names import check_name, check_path


@pytest.mark.parametrize(
    "name", ["daml", "wikipedia/daml+long", "a;touch x", "it's", "新聞/実験", "فارسی\u200cها", ".hidden"]
)
def test_names_of_folders_are_taken_as_they_are(name: str) -> None:
    assert check_name(name, "experiment") == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' is no name of a folder"),
        (" ", "' ' is no name"),
        ("a/ /b", "' ' is no name"),
        ("/etc", "'' is no name"),
        ("a//b", "'' is no name"),
        ("a/", "'' is no name"),
        (".", "'.' is no name"),
        ("../../x", "'..' is no name"),
        ("a/../../x", "'..' is no name"),
        ("a\nseed_everything: 7", r"it holds '\\n'"),
        ("a\rb", r"it holds '\\r'"),
        ("a\x1b[2J", r"it holds '\\x1b'"),
        ("a\0b", r"it holds '\\x00'"),
        ("a\u2028b", r"it holds '\\u2028'"),
        ("a\udcffb", r"it holds '\\udcff'"),
        ("x" * 201, "longer than 200 bytes"),
        ("語" * 67, "longer than 200 bytes"),
    ],
)
def test_names_that_leave_their_folder_or_a_line_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"The experiment cannot be called .*{reason}"):
        check_name(name, "experiment")


def test_a_store_is_no_folder_inside_of_another() -> None:
    with pytest.raises(UserError, match="The store cannot be called 'a/b', as it would lie in another folder"):
        check_name("a/b", "store", nested=False)


@pytest.mark.parametrize("path", ["../elsewhere", "/scratch/me/run 7", "a//b"])
def test_paths_may_lead_anywhere(path: str) -> None:
    assert str(check_path(path, "--run_dir")).replace("/", "") == path.replace("/", "")


@pytest.mark.parametrize("path", ["", " ", "a\nb", "a\x07"])
def test_paths_of_several_lines_or_of_nothing_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="--run_dir is "):
        check_path(path, "--run_dir")
