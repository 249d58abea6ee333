import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_lightning.model.preprocessing import open_picture
from cmr_lightning.model.thumbnails import OpenedPictures
from datamodules.reading.picture_files import Orientation


@pytest.mark.parametrize("orientation", ["stored", "upright"])
def test_the_encoder_sees_what_it_would_see_and_people_an_upright_picture(
    tmp_path: Path, orientation: Orientation
) -> None:
    draw = np.random.default_rng(0)
    wide = Image.fromarray(draw.integers(0, 256, (40, 800, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    wide.save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "none.jpg").write_text("no picture")
    greys = draw.integers(0, 256, (9, 7), dtype=np.uint8)
    opened = OpenedPictures([tmp_path / "turned.jpg", tmp_path / "none.jpg", greys], orientation)
    seen = [np.asarray(open_picture(picture, orientation)) for picture in opened[0 : len(opened)]]
    assert np.array_equal(seen[0], np.asarray(open_picture(tmp_path / "turned.jpg", orientation)))
    assert seen[0].shape == ((800, 40, 3) if orientation == "upright" else (40, 800, 3))
    assert np.array_equal(seen[2], np.repeat(greys[:, :, None], 3, 2))
    assert list(opened.damaged) == [1]
    assert "none.jpg cannot be read as a picture" in opened.damaged[1]
    sizes = {row: Image.open(io.BytesIO(jpeg)).size for row, jpeg in opened.thumbnails.items()}
    assert sizes == {0: (12, 240), 2: (7, 9)}
    assert not Image.open(io.BytesIO(opened.thumbnails[0])).getexif()
