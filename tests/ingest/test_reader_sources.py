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


def test_a_disk_that_fails_behind_a_large_png_is_no_fault_of_the_image(tmp_path: Path, monkeypatch) -> None:
    """/proc/self/mem is a file that cannot be read where it begins."""
    path = tmp_path / "scan.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(path)
    with open("/proc/self/mem", "rb") as failing:  # noqa: PTH123

        def failing_source(file: object, counted: bool) -> PlainSource:
            return PlainSource(failing, 1 << 23)

        monkeypatch.setattr("soilpipe.ingest.readers.sequential.source_of", failing_source)
        with pytest.raises(OSError, match="Input/output error") as raised:
            decoded(path)
    assert not isinstance(raised.value, Refused)


def test_a_large_png_that_ends_early_is_the_images_fault(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with path.open("rb") as file:
        source = PlainSource(file, 1)
        image = pyvips.Image.new_from_source(source.source, "", access="sequential", fail_on="warning")
        with pytest.raises(pyvips.Error):
            pyvips.Region.new(image).fetch(0, 0, 500, 400)
        assert source.failure is None


def test_a_hole_right_before_the_end_of_a_large_jpeg_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables make zeros the code of even ground, so that only what the decoder leaves over tells of the hole.

    Whether it does depended on where the hole lay in the 4 KiB that libvips asks for.
    """
    pixels = np.full((1900, 256), 90, np.uint8)
    pixels[-96:] = np.random.default_rng(2).integers(0, 256, (96, 256), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, optimize=True)
    data = file.getvalue()
    assert data[-2:] == b"\xff\xd9"
    hole = data[:-4098] + bytes(4096) + data[-2:]
    path = tmp_path / "scan.jpg"
    path.write_bytes(data)
    good = decoded(path)
    monkeypatch.setattr(sources, "_PIPED_FROM", 4096)
    for shift in range(0, 4096, 48):
        comment = b"\xff\xfe" + (shift + 2).to_bytes(2, "big") + bytes(shift)
        path.write_bytes(hole[:2] + comment + hole[2:])
        with pytest.raises(Refused, match="bytes are left over"):
            decoded(path)
        path.write_bytes(data[:2] + comment + data[2:])
        assert np.array_equal(decoded(path), good)
    assert not pipes()


@pytest.mark.parametrize("profile", [b"no profile at all" * 20, b"GRAY"])
def test_a_wrong_colour_profile_is_no_fault_of_the_pixels(profile: bytes, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    if profile == b"GRAY":
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        profile = srgb[:16] + profile + srgb[20:]
    path = tmp_path / "scan.png"
    Image.fromarray(pixels).save(path, icc_profile=profile)
    assert np.array_equal(decoded(path), pixels)
