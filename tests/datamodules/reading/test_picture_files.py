import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, TiffImagePlugin

from cmr_lightning.errors import UserError
from datamodules.reading.picture_files import read_picture

RAMP = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
WHITE = (255, 255, 255)


def read(path: Path, orientation: str = "stored") -> np.ndarray:
    return np.asarray(read_picture(path, orientation))  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm", "jp2"])
def test_greys_of_16_bits_are_scaled_to_8(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(RAMP).save(path, **({"irreversible": False} if ending == "jp2" else {}))
    picture = read(path)
    assert picture.shape == (8, 8, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.repeat((RAMP >> 8)[..., None], 3, axis=2))


def test_greys_of_big_endian_tiffs_and_of_12_bits_and_radiographs_whose_white_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.frombytes("I;16B", (8, 8), RAMP.astype(">u2").tobytes()).save(path)
    np.testing.assert_array_equal(read(path)[..., 0], RAMP >> 8)
    Image.fromarray(RAMP).save(path, tiffinfo={TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0})
    np.testing.assert_array_equal(read(path)[..., 0], 255 - (RAMP >> 8))
    write_12_bits(path, (RAMP >> 4).ravel())
    np.testing.assert_array_equal(read(path)[..., 0], RAMP >> 8)


def write_12_bits(path: Path, values: np.ndarray) -> None:
    """A TIFF as microscopes write them: two greys in three bytes; Pillow itself writes none."""
    first, second = values[::2].astype(int), values[1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(packed))
    path.write_bytes(header + packed + struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_numbers_without_a_known_range_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.tiff cannot be read as a picture \(it holds .* save it with 8 or 16 bits"):
        read(tmp_path / "a.tiff")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "L", "RGB", "I;16"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    """Black on nothing, as signs, drawings and cut-out products are saved."""
    shape = Image.new("L", (8, 8), 0)
    shape.paste(255, (2, 2, 6, 6))
    path = tmp_path / ("a.tiff" if mode == "PA" else "a.png")
    if mode in ("RGBA", "LA", "PA"):
        black = Image.new("LA", (8, 8), (0, 0))
        black.putalpha(shape)
        black.convert(mode if mode != "PA" else "LA").save(path)
    else:  # a colour that stands for nothing
        inverse = shape.point(lambda grey: 1 if grey == 0 else 0)
        if mode == "P":
            inverse.putpalette([0, 0, 0, 9, 9, 9])
            inverse.save(path, transparency=1)
        elif mode == "RGB":
            Image.merge("RGB", [inverse] * 3).save(path, transparency=(1, 1, 1))
        elif mode == "I;16":
            Image.fromarray(np.asarray(inverse).astype(np.uint16)).save(path, transparency=1)
        else:
            inverse.save(path, transparency=1)
    picture = read(path)
    assert (picture[0, 0] == 255).all()
    assert (picture[4, 4] == 0).all()


def test_half_transparent_places_are_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "a.webp", lossless=True)
    assert abs(int(read(tmp_path / "a.webp")[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_where_that_is_asked_for(tmp_path: Path, ending: str, orientation: int) -> None:
    """A red corner is turned away as a camera would, and comes back."""
    upright = Image.new("RGB", (24, 16))
    upright.paste((255, 0, 0), (0, 0, 8, 8))
    turned_by = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # the inverse of what EXIF's number asks for
    stored = upright if turned_by is None else upright.transpose(Image.Transpose(turned_by))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{ending}", exif=exif)
    seen = {form: read(tmp_path / f"a.{ending}", form) for form in ("stored", "upright")}
    assert seen["stored"].shape[:2] == stored.size[::-1]
    assert seen["upright"].shape[:2] == (16, 24)
    assert seen["upright"][3, 3, 0] > 200
    assert seen["upright"][12, 20, 0] < 50


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 30])
def test_exif_data_that_say_nothing_turn_nothing(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings(action="ignore"):
        assert read(tmp_path / "a.jpg", "upright").shape == (16, 24, 3)


def test_postscript_is_not_handed_to_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: started.append(args))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    picture = (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg cannot be read as a picture \(cannot identify .*as JPEG, PNG, "):
        read(picture)
    assert started == []


def test_of_several_frames_the_first_is_taken_and_damage_is_named(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:])  # as telephones write them, a.jpg
    assert read(tmp_path / "a.mpo").shape == (4, 6, 3)
    (tmp_path / "a.gif").write_bytes((tmp_path / "a.mpo").read_bytes()[:100])
    with pytest.raises(UserError, match=r"a\.gif cannot be read as a picture"):
        read(tmp_path / "a.gif")
