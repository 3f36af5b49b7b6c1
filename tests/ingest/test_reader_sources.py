"""How far a decoder asked for a file, and a file that cannot be read to its end."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from soilpipe.ingest.readers import Refused, open_reader, sources
from soilpipe.ingest.readers.sources import CalledSource, PipedSource, PlainSource, source_of


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A JPEG of noise, large enough to go through a pipe."""
    pixels = np.random.default_rng(3).integers(0, 256, (2000, 1800, 3), np.uint8)
    path = tmp_path / "large.jpg"
    path.write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes())
    assert path.stat().st_size > 1 << 22
    return path


def decoded(path: Path) -> np.ndarray:
    with open_reader(path, max_pixels=10**9, max_memory=10**9) as reader:
        return np.concatenate(list(reader.bands(512)))


def pipes() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "soilpipe-pipe"]


def test_both_sources_give_the_same_pixels(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = decoded(large)
    monkeypatch.setattr(sources, "_PIPED_FROM", 1 << 40)
    assert np.array_equal(piped, decoded(large))
    assert not pipes()


def test_a_large_png_is_read_by_the_decoder_itself(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (1300, 1200, 3), np.uint8)
    path = tmp_path / "large.png"
    path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    with path.open("rb") as file:
        assert isinstance(source_of(file, counted=False), PlainSource)
    assert np.array_equal(decoded(path), pixels)


def test_given_is_what_was_taken(large: Path) -> None:
    size = large.stat().st_size
    with large.open("rb") as file:
        source = source_of(file, counted=True)
        assert isinstance(source, PipedSource)
        image = pyvips.Image.new_from_source(source.source, "", access="sequential")
        region = pyvips.Region.new(image)
        region.fetch(0, 0, image.width, 64)
        assert 0 < source.given < size // 4
        region.fetch(0, image.height - 16, image.width, 16)
        assert size - 4096 <= source.given <= size
        source.close()


def test_a_reader_that_is_left_early_leaves_no_thread(large: Path) -> None:
    with open_reader(large, max_pixels=10**9, max_memory=10**9) as reader:
        next(reader.bands(64))
        assert pipes()
    assert not pipes()


def test_rows_left_over_are_found_in_a_large_file(large: Path) -> None:
    data = bytearray(large.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = (2000 - 24).to_bytes(2, "big")
    large.write_bytes(data)
    with pytest.raises(Refused, match="left over"):
        decoded(large)


def test_a_disk_that_fails_is_no_fault_of_the_image() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    source = source_of(Failing(bytes(1000)), counted=True)
    assert isinstance(source, CalledSource)
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_source(source.source, "", access="sequential")
    assert source.failure is not None and source.failure.errno == 5


def test_a_disk_that_fails_behind_the_pipe(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("soilpipe.ingest.readers.sources.os.splice", fail)
    with pytest.raises(OSError, match="Input/output error"):
        decoded(large)


@pytest.mark.parametrize("profile", [b"no profile at all" * 20, b"GRAY"])
def test_a_wrong_colour_profile_is_no_fault_of_the_pixels(profile: bytes, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    if profile == b"GRAY":
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        profile = srgb[:16] + profile + srgb[20:]
    path = tmp_path / "scan.png"
    Image.fromarray(pixels).save(path, icc_profile=profile)
    assert np.array_equal(decoded(path), pixels)
