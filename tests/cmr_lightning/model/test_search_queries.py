from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.model.search_queries import Query, bare, queries_in
from tests.cmr_lightning.model.colours import paint


def test_a_name_of_a_file_is_a_picture_and_all_else_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "cat.png", "grey")
    assert bare("cat.png") == bare("./cat.png") == Query(image=Path("cat.png"))
    for text in ("cat.jpg", "dog " * 10_000, "犬", "a\0b", "."):
        assert bare(text) == Query(text=text)
    file = tmp_path / "queries.txt"
    file.write_text("a dog\n\ncat.png\n cat.png \t make it red \n", encoding="utf-8")
    found = list(queries_in(file))
    assert found == [Query("a dog"), Query(image=Path("cat.png")), Query("make it red", Path("cat.png"))]
    assert str(found[2]) == "cat.png + make it red"
    for content, message in (
        (b"\n \n", "holds no queries; write one a line"),
        (b"a dog\nnone.png\tred\n", "queries.txt, line 2: There is no picture none.png"),
        (b"cat.png\t\n", "line 1: The text of a query is empty"),
        (b"\xff", "cannot be read as text in UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            list(queries_in(file))
    with pytest.raises(UserError, match="The text of a query is empty"):
        bare("  ")
