"""Bands of PNG files equal what other decoders make of the whole file."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import pyvips
from PIL import Image

from tests.ingest.whole_files import Read, by_the_rule, deepened, read

__all__ = ["read"]


def test_png_equals_pillow(draw, read: Read) -> None:
    image = draw(101, 75)
    rgba = np.dstack([image, image[:, :, 1]])
    for samples in (image, rgba, np.ascontiguousarray(image[:, :, 0]), np.ascontiguousarray(rgba[:, :, 2:])):
        data = imagecodecs.png_encode(samples)
        whole = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(whole, samples)
        expected = samples[:, :, 0] if samples.ndim == 3 and samples.shape[2] == 2 else samples
        assert np.array_equal(read(data, ".png")[0], by_the_rule(expected))


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_sixteen_bits_interlaced_or_not(interlaced: bool, draw, read: Read) -> None:
    deep = deepened(draw(101, 75))
    data = pyvips.Image.new_from_array(deep, interpretation="rgb16").pngsave_buffer(interlace=interlaced)
    assert data[28] == interlaced
    assert np.array_equal(imagecodecs.png_decode(data), deep)
    assert np.array_equal(read(data, ".png")[0], by_the_rule(deep))


@pytest.mark.parametrize("mode", ["P", "1"])
def test_png_of_a_palette_or_of_single_bits(mode: str, draw, read: Read) -> None:
    image = Image.fromarray(draw(101, 75)).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    assert np.array_equal(read(file.getvalue(), ".png")[0], np.asarray(image.convert("RGB")))


def png(header: tuple[int, ...], rows: bytes, **chunks: bytes) -> bytes:
    """By hand: width, height, depth and colour type, rows with their filters, and chunks before them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    between = b"".join(chunk(kind.encode(), body) for kind, body in chunks.items())
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("clear", [False, True], ids=["opaque", "one value clear"])
def test_png_of_few_bits_of_grey(depth: int, clear: bool, read: Read) -> None:
    """Spread over 0 to 255, so that white is white; what a tRNS chunk makes transparent keeps its grey."""
    width, height, most = 61, 40, 2**depth - 1
    grey = np.random.default_rng(4).integers(0, most + 1, (height, width), np.uint8)
    bits = (grey[:, :, None] >> np.arange(depth)[::-1]) & 1
    rows = b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in bits.astype(np.uint8))
    data = png((width, height, depth, 0), rows, **({"tRNS": struct.pack(">H", 1)} if clear else {}))
    assert np.array_equal(read(data, ".png")[0], by_the_rule(grey * np.uint8(255 // most)))


def test_png_with_one_colour_clear_keeps_its_pixels(draw, read: Read) -> None:
    image = draw(40, 61)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    clear = struct.pack(">HHH", *image[7, 9].tolist())
    assert np.array_equal(read(png((61, 40, 8, 2), rows, tRNS=clear), ".png")[0], image)


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_a_palette_with_clear_colours(interlaced: bool, draw, read: Read) -> None:
    image = np.dstack([draw(101, 75) // 64 * 64, np.full((101, 75), 255, np.uint8)])
    image[:30, :, 3] = 0
    drawn = pyvips.Image.new_from_array(image, interpretation="srgb")
    data = drawn.pngsave_buffer(palette=True, interlace=interlaced, dither=0, Q=100)
    assert (data[25], data[28]) == (3, interlaced)
    assert b"tRNS" in data
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert np.array_equal(read(data, ".png")[0], by_the_rule(whole))


@pytest.mark.parametrize("grey", [False, True])
def test_png_of_eight_bits_interlaced(grey: bool, draw, read: Read) -> None:
    image = np.ascontiguousarray(draw(101, 75)[:, :, 0]) if grey else draw(101, 75)
    data = pyvips.Image.new_from_array(image, interpretation="b-w" if grey else "srgb").pngsave_buffer(interlace=True)
    assert data[24:26] + data[28:29] == bytes([8, 0 if grey else 2, 1])
    assert np.array_equal(read(data, ".png")[0], by_the_rule(image))
