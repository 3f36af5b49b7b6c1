"""Bands of TIFF files equal what other decoders make of the whole file."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile

from soilpipe.ingest.readers import Refused
from tests.ingest.whole_files import Read, by_the_rule, deepened, pil, read, tiff

__all__ = ["read"]


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
