from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from soilpipe.ingest.readers import Reader, Refused, open_reader

FORMATS = {
    "jpeg": (".jpg", {"quality": 90}),
    "progressive": (".jpg", {"progressive": 1}),
    "png": (".png", {}),
    "plain": (".tif", {}),
    "deflate": (".tif", {"compression": "deflate", "predictor": True}),
    "lzw": (".tif", {"compression": "lzw"}),
    "tiles": (".tif", {"compression": "zstd", "tile": (32, 48), "rowsperstrip": None}),
    "tiff-jpeg": (".tif", {"compression": "jpeg"}),
    "bigtiff": (".tif", {"bigtiff": True, "byteorder": ">"}),
    "jp2": (".jp2", {}),
}
LOSSY = {"jpeg", "progressive", "tiff-jpeg"}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[np.ndarray, Reader]]:
    def read(data: bytes, suffix: str, rows: int = 32, **limits: int) -> tuple[np.ndarray, Reader]:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        with open_reader(path, **{"max_pixels": 10**9, "max_memory": 10**9, **limits}) as reader:
            bands = list(reader.bands(rows))
        assert [len(band) for band in bands[:-1]] == [rows] * (len(bands) - 1)
        assert all(band.dtype == np.uint8 for band in bands)
        whole = np.concatenate(bands)
        assert whole.shape == (reader.height, reader.width, 3)
        return whole, reader

    return read


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rows", [16, 37, 2048])
def test_bands_are_the_whole_picture(form: str, rows: int, draw, encode, read) -> None:
    suffix, options = FORMATS[form]
    image = draw(101, 75)
    data = encode(image, suffix, **options)
    pixels, _ = read(data, suffix, rows)
    if form not in LOSSY:
        assert np.array_equal(pixels, image)
    elif suffix == ".jpg":
        reference = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB).astype(int)
        assert np.abs(pixels - reference).max() <= 4  # decoders differ in how they smooth colour
    else:
        assert np.abs(pixels.astype(int) - image).mean() < 12


@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_anywhere_is_refused(form: str, draw, encode, read) -> None:
    suffix, options = FORMATS[form]
    data = encode(draw(101, 75), suffix, **options)
    read(data, suffix)
    size = len(data)
    cuts = {
        1,
        3,
        8,
        20,
        40,
        100,
        *(size * k // 16 for k in range(1, 16)),
        size - 200,
        size - 64,
        size - 12,
        size - 2,
        size - 1,
    }
    for cut in sorted(cuts):
        with pytest.raises(Refused) as raised:
            read(data[:cut], suffix)
        assert raised.value.code in ("truncated", "damaged", "not_an_image"), cut


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"plain", "bigtiff"}))
def test_a_tail_of_zeros_is_refused(form: str, draw, encode, read) -> None:
    suffix, options = FORMATS[form]
    data = encode(draw(101, 75), suffix, **options)
    start = len(data) // 2
    with pytest.raises(Refused) as raised:
        read(data[:start] + bytes(len(data) - start), suffix)
    assert raised.value.code in ("truncated", "damaged")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2"])
def test_sixteen_bits_keep_their_upper_eight(suffix: str, encode, read) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    assert np.array_equal(read(encode(deep, suffix), suffix)[0], (deep >> 8).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".jpg"])
def test_grey_is_repeated(suffix: str, draw, encode, read) -> None:
    grey = np.ascontiguousarray(draw(40, 50)[:, :, 0])
    pixels, _ = read(encode(grey, suffix), suffix)
    assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])
    assert suffix == ".jpg" or np.array_equal(pixels[:, :, 0], grey)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped(suffix: str, draw, encode, read) -> None:
    image = draw(40, 50)
    rgba = np.dstack([image, draw(40, 50, seed=1)[:, :, 0]])
    if suffix == ".png":
        data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    else:
        data = encode(rgba, suffix, extrasamples=["unassalpha"])
    assert np.array_equal(read(data, suffix)[0], image)


def test_white_is_zero_is_inverted(draw, encode, read) -> None:
    grey = np.ascontiguousarray(draw(40, 50)[:, :, 0])
    pixels, _ = read(encode(grey, ".tif", photometric="miniswhite"), ".tif")
    assert np.array_equal(pixels[:, :, 0], 255 - grey)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"photometric": "separated", "extrasamples": ()}, "photometric kind 5"),
        ({"photometric": "rgb", "planarconfig": "separate"}, "planar"),
    ],
)
def test_what_no_scanner_writes_is_refused_with_that_reason(options: dict, told: str, draw, encode, read) -> None:
    image = draw(40, 50)
    cmyk = options["photometric"] == "separated"
    image = np.dstack([image, image[:, :, :1]]) if cmyk else np.moveaxis(image, 2, 0)
    with pytest.raises(Refused, match=told) as raised:
        read(encode(image, ".tif", **options), ".tif")
    assert raised.value.code == "unsupported"


def test_cmyk_jpeg_is_refused(draw, read) -> None:
    cmyk = np.dstack([draw(40, 50), draw(40, 50)[:, :, :1]])
    data = imagecodecs.jpeg8_encode(cmyk, colorspace="CMYK", outcolorspace="CMYK")
    with pytest.raises(Refused, match="CMYK"):
        read(data, ".jpg")


def with_dpi(data: bytes, suffix: str, dpi: float) -> bytes:
    if suffix == ".jpg":
        assert data[6:10] == b"JFIF"
        return data[:13] + struct.pack(">BHH", 1, int(dpi), int(dpi)) + data[18:]
    body = b"pHYs" + struct.pack(">IIB", *[round(dpi / 0.0254)] * 2, 1)
    return data[:33] + struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    ("dpi", "read_as"),
    [(1200, 1200), (72, None), (96, None), (100, None), (600, 600), (12_800, 12_800), (20_100, None), (65_535, None)],
)
def test_the_resolution_is_the_files_unless_it_is_a_programs_default(
    suffix: str, dpi: int, read_as: float | None, draw, encode, read
) -> None:
    _, reader = read(with_dpi(encode(draw(), suffix), suffix, dpi), suffix)
    assert reader.dpi == (None if read_as is None else pytest.approx(read_as, abs=0.05))


@pytest.mark.parametrize(("suffix", "options"), [(".jpg", {}), (".png", {}), (".tif", {"rowsperstrip": 8})])
def test_a_very_wide_image_is_held_to_the_memory_limit(suffix: str, options: dict, draw, encode, read) -> None:
    """One band of it may be gigabytes, however few rows it has."""
    data = encode(draw(40, 20_000), suffix, **options)
    with pytest.raises(Refused, match=r"is 20000 pixels wide: the bands .* `max_memory`") as raised:
        read(data, suffix, max_memory=9_000_000)
    assert raised.value.code == "needs_memory"
    assert read(data, suffix, max_memory=10_000_000)[0].shape == (40, 20_000, 3)


def test_tiff_tells_resolution_and_time(draw, encode, read) -> None:
    data = encode(
        draw(), ".tif", resolution=(472.44, 472.44), resolutionunit="CENTIMETER", datetime="2024:03:06 06:00:00"
    )
    _, reader = read(data, ".tif")
    assert reader.dpi == pytest.approx(1200, abs=0.1)
    assert reader.captured == datetime(2024, 3, 6, 6)
    assert read(encode(draw(), ".tif"), ".tif")[1].dpi is None


def exif(time: bytes) -> bytes:
    """A little-endian EXIF block with DateTimeOriginal in its inner directory."""
    main = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack("<HHHIII", 1, 0x9003, 2, 20, 44, 0)
    return b"II*\0" + struct.pack("<I", 8) + main + inner + time + b"\0"


@pytest.mark.parametrize(
    ("time", "captured"),
    [(b"2024:03:06 06:00:24", datetime(2024, 3, 6, 6, 0, 24)), (b"0000:00:00 00:00:00", None), (b" " * 19, None)],
)
def test_exif_tells_the_time(time: bytes, captured: datetime | None, draw, encode, read) -> None:
    jpeg = encode(draw(), ".jpg")
    block = b"Exif\0\0" + exif(time)
    marked = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
    assert read(marked, ".jpg")[1].captured == captured
    png = encode(draw(), ".png")
    body = b"eXIf" + exif(time)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert read(png[:33] + chunk + png[33:], ".png")[1].captured == captured


def test_a_pixel_bomb_is_refused_before_it_is_decoded(draw, encode, read) -> None:
    data = encode(draw(), ".png")
    body = b"IHDR" + struct.pack(">II", 10**6, 10**6) + data[24:29]
    bomb = data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    with pytest.raises(Refused, match="1000000 x 1000000 pixels") as raised:
        read(bomb, ".png")
    assert raised.value.code == "too_large"


@pytest.mark.parametrize("form", ["progressive", "jp2"])
def test_what_decodes_only_whole_is_held_to_the_memory_limit(form: str, draw, encode, read) -> None:
    suffix, options = FORMATS[form]
    data = encode(draw(), suffix, **options)
    with pytest.raises(Refused, match="max_memory") as raised:
        read(data, suffix, max_memory=50_000)
    assert raised.value.code == "needs_memory"


@pytest.mark.parametrize(
    ("data", "suffix", "code"),
    [
        (b"", ".jpg", "empty"),
        (b"these are my notes of the day", ".jpg", "not_an_image"),
        (b"<html>404</html>", ".tif", "not_an_image"),
        (bytes(5000), ".tif", "damaged"),
    ],
)
def test_what_is_no_image_is_told_so(data: bytes, suffix: str, code: str, read) -> None:
    with pytest.raises(Refused) as raised:
        read(data, suffix)
    assert raised.value.code == code


def test_a_wrong_extension_is_refused_with_the_right_one(draw, encode, read) -> None:
    with pytest.raises(Refused, match=r"is PNG but is called \.jpg.*end in \.png") as raised:
        read(encode(draw(), ".png"), ".jpg")
    assert raised.value.code == "wrong_extension"


def test_a_tiff_with_two_pictures_is_refused(draw, tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    tifffile.imwrite(path, np.stack([draw(), draw(seed=1)]), photometric="rgb")
    with pytest.raises(Refused, match="several images"):
        open_reader(path, max_pixels=10**9, max_memory=10**9)
