"""What a file tells beside its pixels: orientation and colour profile."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import ImageCms

from tests.ingest.whole_files import Read, pil, read, tiff

__all__ = ["read"]


def orientation_tag(value: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)


@pytest.mark.parametrize(("written", "told"), [(1, 1), (3, 3), (8, 8), (0, 1), (9, 1)])
def test_the_orientation_is_told_and_the_rows_are_left_as_they_lie(written: int, told: int, draw, read: Read) -> None:
    image = draw(40, 60)
    exif = b"Exif\0\0" + orientation_tag(written)
    jp2 = pil(image, "JPEG2000")
    body = b"uuidJpgTiffExif->JP2" + exif
    for data, suffix in (
        (pil(image, "JPEG", exif=exif, quality=95), ".jpg"),
        (pil(image, "PNG", exif=exif), ".png"),
        (tiff(image, photometric="rgb", extratags=[(274, 3, 1, written, True)]), ".tif"),
        (jp2 + struct.pack(">I", len(body) + 4) + body, ".jp2"),
    ):
        pixels, reader = read(data, suffix)
        assert reader.exif_orientation == told, suffix
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(int) - image).mean() < 12
    assert read(pil(image, "PNG"), ".png")[1].exif_orientation == 1


def test_the_colour_profile_is_told_and_not_applied(draw, read: Read) -> None:
    image = draw(40, 60)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif")):
        pixels, reader = read(pil(image, form, icc_profile=profile), suffix)
        assert reader.icc == profile
        plain, without = read(pil(image, form), suffix)
        assert without.icc is None
        assert np.array_equal(pixels, plain)
