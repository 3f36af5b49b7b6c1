"""No file that was cut, or has a hole or a tail of zeros, passes as good where its format makes that detectable."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from soilpipe.ingest.readers import Refused, jpeg2000_marks, open_reader, zeros

HOLE = 4096


def pil(image: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    photometric = "rgb" if image.ndim == 3 else "minisblack"
    tifffile.imwrite(file, image, **{"photometric": photometric, "metadata": None, **options})
    return file.getvalue()


KINDS: dict[str, tuple[str, str, Callable[[np.ndarray], bytes]]] = {
    "JPEG": (".jpg", "JPEG", lambda image: pil(image, "JPEG", quality=95)),
    "JPEG optimized": (".jpg", "JPEG", lambda image: pil(image, "JPEG", quality=95, optimize=True)),
    "JPEG progressive": (".jpg", "JPEG", lambda image: pil(image, "JPEG", quality=95, progressive=True)),
    "JPEG with restarts": (".jpg", "JPEG", lambda image: pil(image, "JPEG", quality=95, restart_marker_rows=1)),
    "JPEG grey": (".jpg", "JPEG", lambda image: pil(np.ascontiguousarray(image[:, :, 0]), "JPEG", quality=97)),
    "PNG": (".png", "PNG", lambda image: pil(image, "PNG")),
    "TIFF LZW": (".tif", "TIFF", lambda image: tiff(image, compression="lzw", rowsperstrip=64)),
    "TIFF LZW small strips": (".tif", "TIFF", lambda image: tiff(image, compression="lzw", rowsperstrip=2)),
    "TIFF deflate": (".tif", "TIFF", lambda image: tiff(image, compression="deflate", predictor=True)),
    "TIFF zstd tiles": (".tif", "TIFF", lambda image: tiff(image, compression="zstd", tile=(64, 64))),
    "TIFF zstd strips": (".tif", "TIFF", lambda image: tiff(image, compression="zstd", rowsperstrip=4)),
    "TIFF PackBits": (".tif", "TIFF", lambda image: tiff(image, compression="packbits", rowsperstrip=64)),
    "TIFF PackBits rows": (".tif", "TIFF", lambda image: tiff(image, compression="packbits", rowsperstrip=1)),
    "TIFF JPEG": (".tif", "TIFF", lambda image: tiff(image, compression="jpeg", tile=(128, 128))),
    "TIFF tables apart": (".tif", "TIFF", lambda image: pil(image, "TIFF", compression="jpeg", quality=90)),
    "JPEG 2000": (".jp2", "JPEG 2000", lambda image: pil(image, "JPEG2000")),
    "JPEG 2000 tiles": (".jp2", "JPEG 2000", lambda image: pil(image, "JPEG2000", tile_size=(128, 96))),
    "JPEG 2000 stream": (".j2k", "JPEG 2000", lambda image: pil(image, "JPEG2000", no_jp2=True, irreversible=True)),
    "JPEG 2000 layers": (
        ".jp2",
        "JPEG 2000",
        lambda image: pil(image, "JPEG2000", quality_mode="rates", quality_layers=[60, 20, 3], tile_size=(128, 128)),
    ),
}

# Bytes at the very end that a checksum alone could tell from a dark corner of the picture, and these have none.
NOT_TOLD = {"TIFF PackBits": 7, "TIFF PackBits rows": 7, "TIFF zstd strips": 1023, "TIFF zstd tiles": 1023}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes, str], np.ndarray]:
    def read(data: bytes, suffix: str) -> np.ndarray:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
            return np.concatenate(list(reader.bands(128)))

    return read


def places(size: int, count: int, seed: int) -> Iterator[int]:
    """Places to cut or to zero: spread over the file, at its ends, and at the borders of a disk's blocks."""
    rng = np.random.default_rng(seed)
    ends = [1, 2, 9, 30, size - 1, size - 2, size - 3, size - 11, size - 13, size - 65, size - 513]
    borders = (rng.integers(1, max(2, size // 512), count // 3) * 512).tolist()
    yield from sorted({at for at in [*ends, *borders, *rng.integers(1, size, count).tolist()] if 0 < at < size})


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_no_tail_and_no_hole_passes(kind: str, draw, read) -> None:
    suffix, format_name, encode = KINDS[kind]
    data = encode(draw(240, 320))
    good = read(data, suffix)
    assert good.shape == (240, 320, 3)
    broken = [(f"cut at {at}", data[:at]) for at in places(len(data), 24, 1)]
    # The last byte of a file in which it is zero already is no tail.
    broken += [(f"tail from {at}", data[:at] + bytes(len(data) - at)) for at in places(len(data), 24, 2)]
    for at in places(len(data) - HOLE, 30, 3):
        for length in (HOLE, 2 * HOLE):
            broken.append((f"{length} zeros at {at}", data[:at] + bytes(length) + data[at + length :]))
    for what, changed in broken:
        if changed == data:
            continue
        try:
            pixels = read(changed, suffix)
        except Refused as refused:
            refusal = refused
        else:
            last = what.startswith("tail") and len(data) - int(what.split()[-1]) <= NOT_TOLD.get(kind, 0)
            assert np.array_equal(pixels, good) or last, f"{what}: passed as good"
            continue
        assert refusal.code in ("truncated", "damaged", "not_an_image", "unsupported"), what
        named = f"The {format_name} file" in refusal.reason
        # What lost its first bytes is of no known format.
        assert named or changed[:16] != data[:16], (what, refusal.reason)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_plain_tiff_is_refused_at_any_cut_and_where_its_directory_is_gone(bigtiff: bool, draw, read) -> None:
    image = draw(240, 320)
    data = tiff(image, rowsperstrip=16, bigtiff=bigtiff)
    for at in places(len(data), 60, 1):
        with pytest.raises(Refused):
            read(data[:at], ".tif")
    with pytest.raises(Refused):
        read(bytes(HOLE) + data[HOLE:], ".tif")
    # Black is a legitimate picture: zeros among plain samples are for the quality check to tell.
    assert not read(data[:-HOLE] + bytes(HOLE), ".tif")[-1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_black_is_no_hole(kind: str, draw, read) -> None:
    suffix, _, encode = KINDS[kind]
    image = np.zeros((1500, 1400, 3), np.uint8)
    assert not read(encode(image), suffix).any()
    image[:200, :300] = draw(200, 300)
    assert not read(encode(image), suffix)[300:].any()


def test_empty_packets_are_no_hole_and_are_counted(read) -> None:
    """A packet without content may be written as one zero byte: of an even grey, all packets are."""
    grey = np.full((1200, 1200, 3), 128, np.uint8)
    data = pil(grey, "JPEG2000", precinct_size=(32, 32), codeblock_size=(16, 16), no_jp2=True)
    start = data.index(b"\xff\x93") + 2
    assert set(data[start:-2]) == {0x80}  # how OpenJPEG writes them
    packets = len(data) - 2 - start
    assert packets > HOLE
    emptied = data[:start] + bytes(packets) + data[-2:]
    assert np.array_equal(read(emptied, ".j2k"), grey)
    part = data.index(b"\xff\x90")
    longer = emptied[: part + 6] + struct.pack(">I", start - part + 2 * packets) + emptied[part + 10 : start]
    with pytest.raises(Refused, match="hole of zeros"):
        read(longer + bytes(2 * packets) + data[-2:], ".j2k")


FINE = {"precinct_size": (32, 32), "codeblock_size": (16, 16)}
LAYERS = {"quality_mode": "rates", "quality_layers": [60, 30, 15, 8, 4, 2]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(FINE, id="precincts"),
        pytest.param(FINE | LAYERS | {"progression": "RPCL"}, id="layers", marks=pytest.mark.slow),
    ],
)
def test_a_hole_is_no_packets_without_content_however_many_there_may_be(options: dict, draw, read) -> None:
    """With more packets than a hole has bytes, counting them is not enough."""
    image = draw(480, 640)
    image[100:300, 100:400] = 0
    data = pil(image, "JPEG2000", no_jp2=True, **options)
    good = read(data, ".j2k")
    assert good.shape == image.shape
    start = data.index(b"\xff\x93") + 2
    for at in np.linspace(start, len(data) - HOLE - 2, 9).astype(int).tolist():
        with pytest.raises(Refused, match="hole of zeros"):
            read(data[:at] + bytes(HOLE) + data[at + HOLE :], ".j2k")


@pytest.mark.parametrize("codeblock", [4, 64])
def test_a_jpeg2000_that_claims_packets_or_blocks_without_end_is_refused(codeblock: int, draw, read) -> None:
    data = bytearray(pil(draw(240, 320), "JPEG2000", no_jp2=True, **FINE))
    style = data.index(b"\xff\x52")
    levels = data[style + 9]
    struct.pack_into(">H", data, style + 6, 65535)
    data[style + 10 : style + 12] = bytes([codeblock.bit_length() - 3] * 2)
    data[style + 14 : style + 15 + levels] = bytes(levels + 1)
    struct.pack_into(">II", data, 8, 12_000, 8_000)
    struct.pack_into(">II", data, 24, 12_000, 8_000)
    start = data.index(b"\xff\x93") + 2
    data[start + 100 : start + 5000] = bytes(4900)
    with pytest.raises(Refused, match="hole of zeros"):
        read(bytes(data), ".j2k")


def test_a_jpeg2000_whose_blocks_are_too_many_to_look_at_is_held_to_the_number_of_its_packets(
    draw, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg2000_marks, "_BLOCKS_FOR_FREE", -(1 << 30))
    data = pil(draw(240, 320), "JPEG2000", no_jp2=True)
    at = len(data) // 2
    with pytest.raises(Refused, match="hole of zeros"):
        read(data[:at] + bytes(HOLE) + data[at + HOLE :], ".j2k")


def test_black_jpeg_with_tables_of_its_own_is_long_runs_of_zeros(read) -> None:
    """What the check by Huffman tables is for: refusing every run of zeros would refuse this good file."""
    black = np.zeros((4000, 4000, 3), np.uint8)
    data = pil(black, "JPEG", optimize=True)
    assert bytes(HOLE) in data
    assert not read(data, ".jpg").any()


def test_coded_data_left_over_after_the_last_row_are_told(draw, read) -> None:
    """libjpeg is silent when the header says fewer rows than were coded, as it is when a hole swallowed some."""
    data = pil(draw(240, 320), "JPEG", quality=95)
    frame = data.index(b"\xff\xc0")
    for height in (16, 120, 224):
        lower = data[: frame + 5] + struct.pack(">H", height) + data[frame + 7 :]
        with pytest.raises(Refused, match="bytes are left over"):
            read(lower, ".jpg")
    for height in (256, 5000):
        higher = data[: frame + 5] + struct.pack(">H", height) + data[frame + 7 :]
        with pytest.raises(Refused, match="premature end"):
            read(higher, ".jpg")


@pytest.mark.parametrize("height", [1, 120, 239, 241, 500])
def test_a_png_of_another_height_than_its_header_says_is_refused(height: int, draw, read) -> None:
    data = pil(draw(240, 320), "PNG")
    body = b"IHDR" + struct.pack(">II", 320, height) + data[24:29]
    with pytest.raises(Refused, match="PNG"):
        read(data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:], ".png")


@pytest.mark.parametrize("left_out", [1, 2, 3, 5])
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_whose_scan_header_is_too_short_is_refused(grey: bool, left_out: int, draw, read) -> None:
    image = draw(240, 320)
    data = pil(np.ascontiguousarray(image[:, :, 0]) if grey else image, "JPEG")
    scan = data.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, scan + 2)
    assert length == (8 if grey else 12)
    shorter = length - left_out
    wrong = (
        data[: scan + 2] + struct.pack(">H", shorter) + data[scan + 4 : scan + 2 + shorter] + data[scan + 2 + length :]
    )
    with pytest.raises(Refused, match="its segment 0xDA is too short"):
        read(wrong, ".jpg")
    strip = tiff(image[:, :, 0] if grey else image, compression="jpeg", rowsperstrip=240)
    with tifffile.TiffFile(io.BytesIO(strip)) as file:
        at = strip.index(b"\xff\xda", file.pages[0].dataoffsets[0])
    with pytest.raises(Refused, match=r"bad in strip 1 of 1: .*its segment 0xDA is too short"):
        read(strip[: at + 2] + struct.pack(">H", shorter) + strip[at + 4 :], ".tif")


def test_a_progressive_jpeg_without_its_last_scans_is_refused(draw, read) -> None:
    """Such a file is well formed: it is a coarse picture of the whole."""
    data = pil(draw(240, 320), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 4
    for at in scans[1:]:
        cut = data[:at]
        while (table := cut.rfind(b"\xff\xc4")) > cut.rfind(b"\xff\xda"):
            cut = cut[:table]
        with pytest.raises(Refused, match="before all scans of component"):
            read(cut + b"\xff\xd9", ".jpg")


def test_a_missing_tile_or_tile_part_is_told(draw, read) -> None:
    data = pil(draw(240, 320), "JPEG2000", tile_size=(128, 96), no_jp2=True)
    parts = []
    at = data.index(b"\xff\x90")
    while data[at : at + 2] == b"\xff\x90":
        (length,) = struct.unpack(">I", data[at + 6 : at + 10])
        parts.append((at, at + length))
        at += length
    assert len(parts) == 9
    for start, end in (parts[0], parts[4], parts[8]):
        with pytest.raises(Refused, match=r"tile \d of 9 is missing"):
            read(data[:start] + data[end:], ".j2k")
    start, end = parts[3]
    with pytest.raises(Refused, match="has its part 1 after 1 others"):
        read(data[:end] + data[start:end] + data[end:], ".j2k")


def test_a_tiff_strip_of_another_length_than_its_rows_is_refused(draw, read) -> None:
    data = tiff(draw(240, 320), rowsperstrip=16)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        width, rows, offsets = tags[256].valueoffset, tags[278].valueoffset, tags[273].valueoffset
    for at, value in ((width, 319), (width, 321), (rows, 15), (rows, 17)):
        with pytest.raises(Refused, match=r"TIFF file is"):
            read(data[:at] + struct.pack("<H", value) + data[at + 2 :], ".tif")
    (second,) = struct.unpack_from("<I", data, offsets + 4)
    with pytest.raises(Refused, match="begins inside another"):
        read(data[: offsets + 4] + struct.pack("<I", second + 1) + data[offsets + 8 :], ".tif")


def test_pixels_left_over_in_a_png_are_told_even_where_warnings_are_silenced(draw, read) -> None:
    data = pil(draw(240, 320), "PNG")
    body = b"IHDR" + struct.pack(">II", 320, 200) + data[24:29]
    lower = data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.CRITICAL)
        with pytest.raises(Refused, match="Too much image data"):
            read(lower, ".png")
    finally:
        root.setLevel(level)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "PNG", "JPEG 2000 tiles"])
def test_borders_of_the_pieces_a_file_is_looked_at_in_do_not_matter(
    kind: str, draw, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, _, encode = KINDS[kind]
    data = encode(draw(100, 120))
    good = read(data, suffix)
    at = len(data) // 2
    hole = data[:at] + bytes(HOLE) + data[at + HOLE :]
    for window in (4096, 5000, 5001):
        monkeypatch.setattr(zeros, "_WINDOW", window)
        assert np.array_equal(read(data, suffix), good)
        with pytest.raises(Refused):
            read(hole, suffix)
    assert zeros.zero_run(b"\1" * 4990 + bytes(1024) + b"\1", 0, 6015) == 4990
    assert zeros.zero_run(b"\1" * 4990 + bytes(1023) + b"\1", 0, 6014) is None
