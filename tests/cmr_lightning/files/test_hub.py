from email.message import Message
from pathlib import Path
from unittest.mock import Mock
from urllib.error import HTTPError, URLError

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.files import hub


def test_what_is_in_the_cache_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_reachable", lambda: pytest.fail("the hub was asked"))
    assert hub.from_hub(lambda local: "cached" if local else "fetched", "a/b", "x", "y") == "cached"


def test_what_is_not_in_the_cache_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(local: bool) -> str:
        if local:
            raise FileNotFoundError("not in the cache")
        return "fetched"

    monkeypatch.setattr(hub, "_reachable", lambda: True)
    assert hub.from_hub(load, "a/b", "x", "y") == "fetched"


@pytest.mark.parametrize(
    ("reachable", "says"), [(False, "cannot be reached"), (True, r"could not be fetched \(gone\)")]
)
def test_missing_files_are_told_with_the_option_that_takes_a_copy(
    reachable: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(local: bool) -> str:
        raise OSError("gone\nand more")

    monkeypatch.setattr(hub, "_reachable", lambda: reachable)
    with pytest.raises(
        UserError, match=rf"^a/b .*{says}.* get w\.bin from https?://\S+/a/b .* as some\.key, a file\.$"
    ):
        hub.from_hub(load, "a/b", "w.bin", "some.key, a file")


@pytest.mark.parametrize(
    ("offline", "error", "reachable"),
    [
        (True, AssertionError("the hub was asked"), False),
        (False, URLError("no route"), False),
        (False, HTTPError("", 403, "an unkind answer", Message(), None), True),
    ],
)
def test_reachable(offline: bool, error: Exception, reachable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("urllib.request.urlopen", Mock(side_effect=error))
    assert hub._reachable() is reachable


@pytest.mark.parametrize("name", ["./tokens", "/srv/tokens", "~/tokens", "a/b/c", "a\\b", ""])
def test_a_folder_that_is_not_there_is_no_address_on_the_hub(name: str) -> None:
    with pytest.raises(UserError, match=r"^The folder .*, given as some\.key, does not exist"):
        hub.local_folder(name, "some.key")


def test_a_folder_that_is_there_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert hub.local_folder("owner/model", "some.key") == Path("owner/model")
    assert hub.local_folder("owner/other", "some.key") is None
