"""Decoding and resizing: what reaches the network."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from containers.common import photograph
from tests import ABID, squares


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_full_size_photograph_and_its_copy_become_the_same_pixels():
    rule = photograph.resize_rule((128, 96))
    full = squares.photograph(4, seed=2, size=(500, 340))
    copy = encoded(photograph.decode(encoded(full)).resize((224, 224), Image.Resampling.BICUBIC))
    pixels = [photograph.resize(photograph.decode(data), rule) for data in (encoded(full), copy)]
    assert pixels[0].shape == (128, 96, 3) and pixels[0].dtype == np.uint8
    assert np.array_equal(*pixels)


def test_a_copy_is_not_compressed_again():
    copy = photograph.decode(encoded(squares.photograph(4, seed=2, size=(224, 224))))
    assert np.array_equal(photograph.resize(copy, photograph.resize_rule((224, 224))), np.asarray(copy))


def test_orientation_alpha_and_grey():
    image = squares.photograph(2, seed=1, size=(60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    assert photograph.decode(encoded(image, exif=exif)).size == (40, 60)
    for mode in ("RGBA", "L", "P", "LA", "1"):
        assert photograph.decode(encoded(image.convert(mode), "PNG")).mode == "RGB"


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\xff\xd8\xff", encoded(squares.photograph(1, 0), "PNG")[:60]]
)
def test_what_is_no_photograph(data):
    with pytest.raises(photograph.PhotographError):
        photograph.decode(data)


SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"  # of one component


def test_a_jpeg_of_very_many_scans_is_not_decoded():
    jpeg = encoded(squares.photograph(2, seed=1), progressive=True)
    assert photograph.decode(jpeg)
    with pytest.raises(photograph.PhotographError, match="scans; the limit is 100"):
        photograph.decode(jpeg[:-2] + SCAN * 100 + jpeg[-2:])
    assert photograph.decode(jpeg + b"\xff\xda video" * 200)  # as telephones append to a photograph
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", SCAN.decode("latin-1") * 200)
    assert photograph.decode(encoded(squares.photograph(2, seed=1), "PNG", pnginfo=comment))


@pytest.mark.photographs
@pytest.mark.skipif(not ABID.exists(), reason="the real photographs are not here")
def test_real_photographs_and_their_copies_are_nearly_the_same_pixels():
    """They were made by another Pillow, so a few differ in the compression of some blocks."""
    differences = []
    for path in sorted((ABID / "originals").glob("*.jpg")):
        full, copy = (
            photograph.resize(photograph.decode(p.read_bytes()), photograph.resize_rule((128, 128))).astype(
                int
            )
            for p in (path, ABID / "bin-images" / path.name)
        )
        differences.append(abs(full - copy).mean())
    assert len(differences) == 300
    assert np.mean(np.array(differences) < 0.01) > 0.85 and max(differences) < 4
