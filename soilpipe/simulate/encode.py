"""Pixels to the bytes of an image file, with the scan's dpi in it. numpy and cv2 only."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from soilpipe.simulate.spec import SimulationError


def encode(image: np.ndarray, extension: str, dpi: float, quality: int) -> bytes:
    """Bytes of (H, W, 3) uint8 RGB as jpg, png, tiff (Deflate) or jp2.

    OpenCV writes no dpi into a jp2: give it in the project file.
    """
    bgr = np.ascontiguousarray(image[..., ::-1])
    if extension == "jpg":
        return _jpeg_dpi(_bytes(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality]), dpi)
    if extension == "png":
        return _png_dpi(_bytes(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3]), dpi)
    if extension == "tiff":
        return _tiff(image, dpi)
    if extension == "jp2":
        return _bytes(".jp2", bgr, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, quality * 10])
    raise SimulationError(f"cannot write scans as {extension!r}: use jpg, png, tiff or jp2.")


def _bytes(suffix: str, bgr: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, bgr, options)
    if not done:
        raise SimulationError(f"OpenCV could not write {bgr.shape[1]} x {bgr.shape[0]} px as {suffix}.")
    return bytes(data)


def _jpeg_dpi(data: bytes, dpi: float) -> bytes:
    """Set the density of the JFIF header, which OpenCV leaves at 1:1."""
    if data[2:4] != b"\xff\xe0" or data[6:11] != b"JFIF\0":
        raise SimulationError("OpenCV wrote a JPEG without a JFIF header: its dpi cannot be set. Use png or tiff.")
    whole = round(dpi)
    return data[:13] + struct.pack(">BHH", 1, whole, whole) + data[18:]


def _png_dpi(data: bytes, dpi: float) -> bytes:
    per_metre = round(dpi / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]  # right after IHDR


def _tiff(image: np.ndarray, dpi: float, rows: int = 256) -> bytes:
    """Baseline RGB TIFF in strips, Deflate; OpenCV would write it without a resolution."""
    height, width = image.shape[:2]
    strips = [zlib.compress(np.ascontiguousarray(image[y : y + rows]).tobytes(), 1) for y in range(0, height, rows)]
    n = len(strips)
    tags = 13
    after = 8 + 2 + 12 * tags + 4
    bits, resolution, offsets, sizes = after, after + 6, after + 22, after + 22 + 4 * n
    first = sizes + 4 * n
    starts = np.cumsum([first] + [len(s) + len(s) % 2 for s in strips])[:-1]
    inline = n == 1
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 8), (262, 3, 1, 2),
        (273, 4, n, int(starts[0]) if inline else offsets), (277, 3, 1, 3), (278, 4, 1, rows),
        (279, 4, n, len(strips[0]) if inline else sizes), (282, 5, 1, resolution), (283, 5, 1, resolution + 8),
        (284, 3, 1, 1), (296, 3, 1, 2),
    ]  # fmt: skip
    head = struct.pack("<2sHIH", b"II", 42, 8, tags)
    for tag, kind, count, value in entries:
        packed = struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value)
        head += struct.pack("<HHI", tag, kind, count) + packed
    density = struct.pack("<II", round(dpi * 1000), 1000)
    head += struct.pack("<I", 0) + struct.pack("<HHH", 8, 8, 8) + density * 2
    head += np.asarray(starts, "<u4").tobytes() + np.asarray([len(s) for s in strips], "<u4").tobytes()
    return head + b"".join(s + b"\0" * (len(s) % 2) for s in strips)
