"""TIFFs whose strips or tiles are large: read in pieces where the codec allows, held to the memory limit where not."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from soilpipe.ingest.readers import Refused, open_reader


def read(path: Path, rows: int = 256, **limits: int) -> np.ndarray:
    with open_reader(path, **{"max_pixels": 10**9, "max_memory": 10**9, **limits}) as reader:
        return np.concatenate(list(reader.bands(rows)))


def tiff(path: Path, image: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack", metadata=None, **options)
    return path


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1800, 1600, 3), np.uint8)


@pytest.mark.parametrize("layout", [{"rowsperstrip": 1800}, {"tile": (1808, 1600)}])
def test_a_jpeg_strip_of_many_megabytes_is_read(layout: dict, noise: np.ndarray, tmp_path: Path) -> None:
    path = tiff(tmp_path / "scan.tif", noise, compression="jpeg", compressionargs={"level": 98}, **layout)
    with tifffile.TiffFile(path) as file:
        assert max(file.pages[0].databytecounts) > 1 << 22
        whole = file.asarray()
    assert np.abs(read(path).astype(int) - whole).max() <= 1


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every strip were large."""
    monkeypatch.setattr("soilpipe.ingest.readers.tiff.STREAMED_FROM", 1)
    monkeypatch.setattr("soilpipe.ingest.readers.tiff_streams._BYTES_AT_ONCE", 5000)
    monkeypatch.setattr("soilpipe.ingest.readers.tiff_streams._CODED_AT_ONCE", 777)


@pytest.mark.parametrize("codec", ["deflate", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("options", [{}, {"byteorder": ">", "bigtiff": True}, {"rowsperstrip": 40}])
@pytest.mark.usefixtures("streamed")
def test_a_strip_unpacked_as_a_stream_is_the_same(
    codec: str, predictor: bool, options: dict, draw, tmp_path: Path
) -> None:
    image = draw(101, 75)
    deep = image.astype(np.uint16) << 8 | image[::-1]
    black = np.zeros_like(image)
    for samples in (image, deep, np.ascontiguousarray(image[:, :, 0]), black):
        options = {"rowsperstrip": 101, **options}
        path = tiff(tmp_path / "scan.tif", samples, compression=codec, predictor=predictor, **options)
        expected = samples >> 8 if samples.dtype == np.uint16 else samples
        expected = np.dstack([expected] * 3) if expected.ndim == 2 else expected
        assert np.array_equal(read(path, 32), expected)


@pytest.mark.parametrize("codec", ["deflate", "zstd"])
@pytest.mark.usefixtures("streamed")
def test_a_broken_strip_is_refused_as_a_stream_too(codec: str, draw, tmp_path: Path) -> None:
    path = tiff(tmp_path / "scan.tif", draw(240, 320), compression=codec, rowsperstrip=240)
    good = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        (start,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
        height, strip, lengths = (tags[code].valueoffset for code in (257, 278, 279))
    assert len(read(path)) == 240

    def refused(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(Refused) as raised:
            read(path)
        assert raised.value.code in ("truncated", "damaged")
        return raised.value.reason

    middle = start + count // 2
    assert "hole of zeros" in refused(good[:middle] + bytes(4096) + good[middle + 4096 :]) or codec == "deflate"
    refused(good[:start] + bytes(600) + good[start + 600 :])
    refused(good[: start + count - 2000] + bytes(2000) + good[start + count :])
    for less in (1, 3, 700, count // 2):  # the strip is said to be shorter than it is
        refused(good[:lengths] + (count - less).to_bytes(4, "little") + good[lengths + 4 :])
    for rows in (200, 239, 241, 400):  # the strip is said to have other rows than it has
        changed = bytearray(good)
        for at in (height, strip):
            changed[at : at + 2] = rows.to_bytes(2, "little")
        assert "bytes, not" in refused(bytes(changed))


@pytest.mark.usefixtures("streamed")
def test_a_disk_that_fails_in_a_strip_is_no_fault_of_the_file(draw, tmp_path: Path, monkeypatch) -> None:
    def fail(*args: object) -> object:
        def read() -> bytes:
            raise OSError(5, "Input/output error")

        return read

    for codec in ("deflate", "zstd"):
        path = tiff(tmp_path / "scan.tif", draw(60, 50), compression=codec, rowsperstrip=60)
        with monkeypatch.context() as patch:
            patch.setattr("soilpipe.ingest.readers.tiff_streams._coded", fail)
            with pytest.raises(OSError, match="Input/output error"):
                read(path)


PEAK = """
import sys
from pathlib import Path
from soilpipe.ingest.readers import open_reader
import pyarrow

def peak():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM")) / 1024

with open_reader(Path(sys.argv[1]), max_pixels=10**9, max_memory=int(sys.argv[2])) as reader:
    before = peak()
    rows = sum(len(band) for band in reader.bands(64))
print(rows, peak() - before)
"""


@pytest.mark.parametrize("codec", ["jpeg", "deflate", "zstd"])
def test_one_large_strip_is_read_in_pieces(codec: str, draw, tmp_path: Path) -> None:
    """A strip of 72 MB of samples; whole, it would take two or three times as much."""
    image = np.tile(draw(500, 500), (12, 8, 1))
    path = tiff(tmp_path / "scan.tif", image, compression=codec, rowsperstrip=len(image))
    command = [sys.executable, "-c", PEAK, str(path), str(100_000_000)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, more_mb = done.stdout.split()
    assert int(rows) == len(image)
    assert float(more_mb) < 100


def test_lzw_in_one_large_strip_is_held_to_the_memory_limit(draw, tmp_path: Path) -> None:
    path = tiff(tmp_path / "scan.tif", draw(500, 400), compression="lzw", rowsperstrip=500)
    with pytest.raises(Refused, match="strips or tiles are that large") as raised:
        read(path, max_memory=1_700_000)
    assert raised.value.code == "needs_memory"
    assert len(read(path, max_memory=10_000_000)) == 500


@pytest.mark.parametrize("layout", ["strip", "tile"])
def test_a_progressive_jpeg_in_a_tiff_is_held_to_the_memory_limit(layout: str, draw, tmp_path: Path) -> None:
    """Pillow writes the TIFF with a baseline JPEG; its stream is exchanged for a progressive one."""
    image = draw(8192, 32)
    jpeg = io.BytesIO()
    Image.fromarray(image).save(jpeg, "JPEG", quality=90, progressive=True, subsampling=0)
    options = {"rowsperstrip": 8192} if layout == "strip" else {"tile": (8192, 32)}
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path) as file:
        segments = iter([jpeg.getvalue()])
        file.write(
            segments,
            shape=image.shape,
            dtype=np.uint8,
            photometric="ycbcr",
            compression="jpeg",
            metadata=None,
            **options,
        )
    whole = np.asarray(Image.open(jpeg))
    assert np.abs(read(path).astype(int) - whole).max() <= 1
    with pytest.raises(Refused, match=f"{layout} 1 of 1 is a JPEG, and it is progressive") as raised:
        read(path, max_memory=1_700_000)
    assert raised.value.code == "needs_memory"
