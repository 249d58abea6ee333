from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.model import Index
from cmr_lightning.model.index_approximate import add_approximate
from cmr_lightning.model.index_items import TableItems
from cmr_lightning.model.index_update import update_index
from tests.cmr_lightning.model.colours import PURE, Colours, paint

pytest.importorskip("faiss")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["image,text"]
    for number in range(40):
        name = paint(tmp_path / f"{number}.png", (number * 6, 255 - number * 6, 40)).name
        lines.append(f"{name},a {list(PURE)[number % 4]} hat")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path / "table.csv"


@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_recall_is_measured_and_the_index_used_until_items_change(table: Path, tmp_path: Path, distance: str) -> None:
    folder = tmp_path / "index"
    update_index(folder, TableItems(table), Colours(distance))
    made = add_approximate(folder, "IVF8,Flat", "nprobe=8")
    assert (made["images"].recall, made["images"].k, made["images"].queries) == (1, 10, "40 of its texts")
    assert add_approximate(folder, "IVF8,Flat", "nprobe=1")["images"].recall < 1
    update_index(folder, TableItems(table), Colours(distance))  # nothing has changed
    index, red = Index(folder), np.array([PURE["red"]], dtype=np.float32)
    exact, quick = index.search(red, 12, exactly=True)[0], index.search(red, 12)[0]
    assert index.manifest.galleries["images"].approximate is not None
    assert (quick[0].item, len(exact)) == (exact[0].item, 12)
    assert len(quick) < 12  # in one cell
    np.testing.assert_allclose(quick[0].score, exact[0].score, rtol=1e-5)
    (index.folder / "images" / "approximate.faiss").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be read by FAISS; search exactly, or index again with --faiss"):
        Index(folder).search(red)
    table.write_text("image,text\n0.png,a red hat\n")
    update_index(folder, TableItems(table), Colours(distance))
    assert Index(folder).manifest.galleries["images"].approximate is None
    assert not (folder / "images" / "approximate.faiss").exists()
