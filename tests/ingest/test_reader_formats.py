"""Bands equal what other decoders make of the whole file, for every kind of file that soilpipe reads."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from soilpipe.ingest.readers import Reader, Refused, open_reader

Read = Callable[..., tuple[np.ndarray, Reader]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes, suffix: str, rows: int = 37) -> tuple[np.ndarray, Reader]:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
            return np.concatenate(list(reader.bands(rows))), reader

    return read


def pil(image: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def deepened(image: np.ndarray) -> np.ndarray:
    """16 bits, the lower eight not those of the upper."""
    low = np.random.default_rng(3).integers(0, 256, image.shape, np.uint16)
    return image.astype(np.uint16) << 8 | low


def by_the_rule(image: np.ndarray, white_is_zero: bool = False) -> np.ndarray:
    """Samples as a whole-image decoder gives them → 8-bit RGB by the rule in readers/base.py, in other words."""
    image = image // 256 if image.dtype == np.uint16 else image
    image = 255 - image if white_is_zero else image
    if image.ndim == 2:
        return np.stack([image] * 3, axis=2).astype(np.uint8)
    return image[:, :, :3].astype(np.uint8)


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **{"metadata": None, **options})
    return file.getvalue()


CODECS = ["none", "lzw", "deflate", "zstd", "packbits"]
LAYOUTS = {
    "strips": {"rowsperstrip": 16},
    "one-strip": {"rowsperstrip": 101},
    "rows": {"rowsperstrip": 1},
    "tiles": {"tile": (32, 48)},
    "big": {"rowsperstrip": 20, "bigtiff": True},
    "motorola": {"rowsperstrip": 20, "byteorder": ">"},
    "motorola-tiles": {"tile": (48, 32), "byteorder": ">", "bigtiff": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_equals_tifffile(layout: str, codec: str, bits: int, draw, read: Read) -> None:
    image = draw(101, 75)
    image = deepened(image) if bits == 16 else image
    predictors = [False, True] if codec in ("lzw", "deflate", "zstd") else [False]
    for predictor in predictors:
        for samples in (image, np.ascontiguousarray(image[:, :, 0]), np.dstack([image, image[:, :, :1]])):
            colour = samples.ndim == 3
            extra = {"extrasamples": ["unassalpha"]} if colour and samples.shape[2] == 4 else {}
            data = tiff(
                samples,
                photometric="rgb" if colour else "minisblack",
                compression=None if codec == "none" else codec,
                predictor=predictor,
                **extra,
                **LAYOUTS[layout],
            )
            whole = tifffile.imread(io.BytesIO(data))
            assert np.array_equal(whole, samples)
            assert np.array_equal(read(data, ".tif")[0], by_the_rule(whole))


@pytest.mark.parametrize("layout", [{"rowsperstrip": 7}, {"tile": (16, 32)}, {"tile": (16, 32), "compression": "lzw"}])
@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero(bits: int, layout: dict, draw, read: Read) -> None:
    grey = np.ascontiguousarray(draw(50, 40)[:, :, 0])
    grey = deepened(grey) if bits == 16 else grey
    pixels, _ = read(tiff(grey, photometric="miniswhite", **layout), ".tif")
    assert np.array_equal(pixels, by_the_rule(grey, white_is_zero=True))


@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {"tile": (32, 48)}])
def test_white_is_zero_in_jpeg(layout: dict, draw, read: Read) -> None:
    grey = np.ascontiguousarray(draw(50, 40)[:, :, 0])
    data = tiff(grey, photometric="miniswhite", compression="jpeg", compressionargs={"level": 95}, **layout)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].photometric == 0
        whole = file.asarray()
    assert np.abs(read(data, ".tif")[0].astype(int) - by_the_rule(whole, white_is_zero=True)).max() <= 1


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr", "minisblack"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {"tile": (32, 48)}])
def test_jpeg_in_tiff_equals_tifffile(photometric: str, layout: dict, draw, read: Read) -> None:
    image = draw(101, 75)
    image = np.ascontiguousarray(image[:, :, 0]) if photometric == "minisblack" else image
    data = tiff(image, photometric=photometric, compression="jpeg", **layout)
    pixels, _ = read(data, ".tif")
    whole = by_the_rule(tifffile.imread(io.BytesIO(data)))
    assert np.abs(pixels.astype(int) - whole).max() <= 1
    if photometric != "ycbcr":  # then tifffile takes the samples given for YCbCr already
        assert np.abs(pixels.astype(int) - by_the_rule(image)).mean() < 12


@pytest.mark.parametrize("colours", ["L", "RGB"])
def test_jpeg_in_tiff_with_its_tables_kept_apart(colours: str, draw, read: Read) -> None:
    image = draw(101, 75)[:, :, 0] if colours == "L" else draw(101, 75)
    data = pil(np.ascontiguousarray(image), "TIFF", compression="jpeg", quality=90)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert 347 in file.pages[0].tags
        whole = file.asarray()
    assert np.abs(read(data, ".tif")[0].astype(int) - by_the_rule(whole)).max() <= 1


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "photometric kind 3"),
        ({"photometric": "minisblack", "dtype": np.float32}, "numbers other than whole ones"),
        ({"photometric": "minisblack", "dtype": np.int16}, "numbers other than whole ones"),
        ({"photometric": "minisblack", "compression": "lzma"}, "compression 34925"),
        ({"photometric": "minisblack", "dtype": bool}, "samples of 1 bits"),
    ],
)
def test_tiffs_that_are_not_read_say_why(options: dict, told: str, draw, read: Read) -> None:
    grey = np.ascontiguousarray(draw(40, 50)[:, :, 0]).astype(options.pop("dtype", np.uint8))
    with pytest.raises(Refused, match=told) as raised:
        read(tiff(grey, **options), ".tif")
    assert raised.value.code == "unsupported"


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
