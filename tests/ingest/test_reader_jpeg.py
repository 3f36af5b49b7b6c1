"""Bands of JPEG and JPEG 2000 files equal what other decoders make of the whole file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from soilpipe.ingest.readers import Refused, open_reader
from tests.ingest.whole_files import Read, by_the_rule, deepened, pil, read

__all__ = ["read"]


JPEGS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "restart rows": {"restart_marker_rows": 1, "progressive": True},
    "rgb": {"keep_rgb": True},
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_equals_pillow(kind: str, grey: bool, draw, read: Read) -> None:
    image = draw(101, 75)
    image = np.ascontiguousarray(image[:, :, 0]) if grey else image
    data = pil(image, "JPEG", quality=92, **JPEGS[kind])
    whole = np.asarray(Image.open(io.BytesIO(data)))
    # Another libjpeg smooths halved colour a little differently at the edges of the picture.
    allowed = 0 if grey or kind in ("4:4:4", "rgb") else 4
    assert np.abs(read(data, ".jpg")[0].astype(int) - by_the_rule(whole)).max() <= allowed


JPEG2000S = {
    "whole": {},
    "tiles": {"tile_size": (64, 48)},
    "tiles and offsets": {"tile_size": (64, 48), "offset": (20, 30), "tile_offset": (10, 20)},
    "one row of tiles": {"tile_size": (32, 4096)},
    "lossy": {"irreversible": True, "tile_size": (64, 64)},
    "layers": {"quality_mode": "rates", "quality_layers": [40, 10, 4], "tile_size": (64, 64)},
    "small precincts": {"precinct_size": (32, 32), "codeblock_size": (16, 16), "progression": "RPCL"},
    "packet lengths": {"plt": True, "tile_size": (64, 64)},
    "codestream": {"no_jp2": True, "tile_size": (64, 64)},
}


@pytest.mark.parametrize("kind", JPEG2000S)
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg2000_equals_a_whole_decode(kind: str, grey: bool, draw, read: Read) -> None:
    image = draw(150, 190)
    image = np.ascontiguousarray(image[:, :, 0]) if grey else image
    data = pil(image, "JPEG2000", **JPEG2000S[kind])
    whole = imagecodecs.jpeg2k_decode(data)
    pixels, reader = read(data, ".j2k" if kind == "codestream" else ".jp2")
    assert np.array_equal(pixels, by_the_rule(whole))
    assert reader.whole == ("tile_size" not in JPEG2000S[kind])
    if kind not in ("lossy", "layers"):
        assert np.array_equal(whole, image)


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg2000_of_more_than_eight_bits(bits: int, draw, read: Read) -> None:
    deep = deepened(draw(90, 80)) >> (16 - bits)
    data = imagecodecs.jpeg2k_encode(deep, reversible=True, level=0, codecformat="j2k", bitspersample=bits)
    assert np.array_equal(read(data, ".j2k")[0], (deep >> (bits - 8)).astype(np.uint8))
    tiled = pil(np.ascontiguousarray(deep[:, :, 0]), "JPEG2000", tile_size=(64, 64))
    assert np.array_equal(read(tiled, ".jp2")[0], by_the_rule(imagecodecs.jpeg2k_decode(tiled)))


def test_a_tile_of_jpeg2000_needs_far_less_memory_than_the_image(draw, tmp_path: Path) -> None:
    image = draw(8192, 128)
    need = {}
    for kind, options in {"whole": {}, "tiled": {"tile_size": (64, 64)}}.items():
        path = tmp_path / f"{kind}.jp2"
        path.write_bytes(pil(image, "JPEG2000", **options))
        with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
            need[kind] = reader.memory
    assert need["tiled"] < 0.1 * need["whole"]
    with open_reader(tmp_path / "tiled.jp2", max_pixels=10**8, max_memory=need["whole"] // 2) as reader:
        assert np.array_equal(np.concatenate(list(reader.bands(100))), image)
    with pytest.raises(Refused, match=r"without tiles is one wavelet.*max_memory") as raised:
        open_reader(tmp_path / "whole.jp2", max_pixels=10**8, max_memory=need["whole"] // 2)
    assert raised.value.code == "needs_memory"


def test_a_jpeg_whose_colours_come_one_after_the_other_is_held_to_the_memory_limit(draw, tmp_path: Path) -> None:
    path = tmp_path / "scan.jpg"
    path.write_bytes(pil(draw(101, 75), "JPEG", progressive=True))
    with pytest.raises(Refused, match=r"it is progressive.*max_memory"):
        open_reader(path, max_pixels=10**8, max_memory=50_000)


def test_jpegs_and_jpeg2000s_that_are_not_read_say_why(draw, read: Read) -> None:
    image = draw(40, 50)
    jpeg = pil(image, "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    for wrong, told in (
        (jpeg[:frame] + b"\xff\xc9" + jpeg[frame + 2 :], "arithmetic"),
        (jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :], "12 bits"),
    ):
        with pytest.raises(Refused, match=told):
            read(wrong, ".jpg")
    with pytest.raises(Refused, match="signed"):
        read(pil(image, "JPEG2000", signed=True), ".jp2")
    halved = bytearray(pil(image, "JPEG2000", no_jp2=True))
    halved[4 + 38 + 3 + 1 : 4 + 38 + 3 + 3] = b"\2\2"  # every other sample of the second component, both ways
    with pytest.raises(Refused, match="components of different") as raised:
        read(bytes(halved), ".j2k")
    assert raised.value.code == "unsupported"
    jp2 = pil(image, "JPEG2000")
    header = jp2.index(b"jp2h")
    (length,) = struct.unpack(">I", jp2[header - 4 : header])
    palette = struct.pack(">I4sHB", 11, b"pclr", 256, 3)
    grown = jp2[: header - 4] + struct.pack(">I", length + 11) + b"jp2h" + palette + jp2[header + 4 :]
    with pytest.raises(Refused, match="palette"):
        read(grown, ".jp2")
