"""Files that are odd by design: bombs, single pixels, ribbons, directories without end, wrong names."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from ingest_fuzz_cases import ENCODERS, MAX_PIXELS, Case, Seed, picture, resized, seed_of

SUFFIXES = (".jpg", ".png", ".tif", ".jp2", ".j2k", ".bmp", "", ".jpeg.txt", ".TIFF")


def odd_cases(seeds: list[Seed]) -> Iterator[Case]:
    """Everything that is not made by chance."""
    for seed in seeds:
        yield Case(seed, "as it is", seed.data, "right")
        yield Case(seed, "nothing in it", b"", "refuse")
        yield Case(seed, "all zeros", bytes(len(seed.data)), "refuse")
        yield Case(seed, "followed by zeros", seed.data + bytes(5000))
        yield Case(seed, "two files in one", seed.data + seed.data)
        for suffix in SUFFIXES:
            good = suffix.lower() in (seed.suffix, seed.suffix + "f") or {suffix, seed.suffix} == {".jp2", ".j2k"}
            yield Case(
                seed, "called otherwise", seed.data, "right" if good else "refuse", suffix=suffix or ".", note=suffix
            )
        for factor in (200, 3e5):
            yield Case(seed, "pixel bomb", resized(seed, factor, factor)[0], "refuse", note=f"x {factor:g}")
        yield Case(seed, "no pixels", resized(seed, 0, 1)[0], "refuse")
        yield Case(seed, "no pixels", resized(seed, 1, 0)[0], "refuse")
    for kind in ENCODERS:
        for height, width in ((1, 1), (1, 2), (2, 1), (3, 7), (1, 20_000), (20_000, 1), (5, 8_000)):
            small = seed_of(kind, picture(height, width))
            mutation = "few pixels" if height * width < 100 else "extreme aspect"
            yield Case(small, mutation, small.data, "right", note=f"{width} x {height}")
    yield from _tiffs()
    yield _png_bomb()


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def _directory(entries: list[bytes], following: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def _page(width: int, height: int, offset: int, count: int, **other: tuple[int, int, int]) -> list[bytes]:
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, offset),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, count),
        **{int(tag[1:]): value for tag, value in other.items()},
    }
    return [_entry(tag, *tags[tag]) for tag in sorted(tags)]


def _tiff(data: bytes) -> Seed:
    return Seed("TIFF by hand", ".tif", data)


def _tiffs() -> Iterator[Case]:
    head = b"II*\0" + struct.pack("<I", 8)

    def one(entries: list[bytes], mutation: str, must: str, pixels: bytes = bytes(4096), note: str = "") -> Case:
        body = head + _directory(entries)
        return Case(_tiff(body + pixels), mutation, body + pixels, must, note=note)

    at = len(head + _directory(_page(1, 1, 0, 0)))
    yield one(_page(64, 64, at, 4096), "as it is", "right", np.arange(4096, dtype=np.uint8).tobytes())
    for note, other in {
        "strip offsets": {"t273": (4, 2**32 - 1, at)},
        "strip lengths": {"t279": (4, 2**31, at)},
        "resolution": {"t282": (5, 2**30, at)},
        "bits": {"t258": (3, 2**32 - 1, 8)},
        "a text": {"t306": (2, 2**32 - 1, at)},
        "an unknown one": {"t60000": (12, 2**32 - 1, at)},
        "strip offsets of the file's size": {"t273": (4, 1000, 8)},
    }.items():
        yield one(_page(64, 64, at, 4096, **other), "huge tags", "refuse", note=note)
    for note, other in {
        "tile of 2^32": {"t322": (4, 1, 2**32 - 1), "t323": (4, 1, 2**32 - 1), "t324": (4, 1, at), "t325": (4, 1, 9)},
        "tile of 2^15": {"t322": (4, 1, 2**15), "t323": (4, 1, 2**15), "t324": (4, 1, at), "t325": (4, 1, 9)},
        "tile of nothing": {"t322": (4, 1, 0), "t323": (4, 1, 0), "t324": (4, 1, at), "t325": (4, 1, 9)},
        "65535 samples": {"t277": (3, 1, 65535)},
    }.items():
        yield one(_page(64, 64, at, 4096, **other), "pixel bomb", "refuse", note=note)
    side = int(MAX_PIXELS**0.5) - 10
    bomb = zlib.compress(bytes(10**8), 9)
    entries = _page(64, 64, at, len(bomb), t259=(3, 1, 8))
    yield one(entries, "pixel bomb", "refuse", bomb, note="a strip of 4 kB that unpacks to 100 MB")
    entries = _page(side, side, at, len(bomb), t259=(3, 1, 8))
    yield one(entries, "pixel bomb", "refuse", bomb, note="a strip of 50 MB that unpacks to 100 MB")

    circle = head + _directory(_page(64, 64, at, 4096), following=8)
    yield Case(_tiff(circle), "directories", circle + bytes(4096), "refuse", note="a circle of one")
    for depth in (50, 5_000, 200_000):
        small = _directory([_entry(256, 4, 1, 1), _entry(257, 4, 1, 1)])
        first = at + 4096
        chain = b"".join(small[:-4] + struct.pack("<I", first + (i + 1) * len(small)) for i in range(depth - 1)) + small
        body = head + _directory(_page(64, 64, at, 4096), following=first) + bytes(4096) + chain
        yield Case(_tiff(body), "directories", body, "either" if depth < 1000 else "refuse", True, note=f"{depth} deep")
    wide = head + struct.pack("<H", 65535) + _entry(256, 4, 1, 64) * 65535 + bytes(4)
    yield Case(_tiff(wide), "directories", wide, "refuse", note="65,535 tags")
    overlapping = head + struct.pack("<H", 900) + bytes([1, 0, 1, 0, 1, 0, 0, 0, 20, 0, 0, 0]) * 900
    yield Case(_tiff(overlapping), "directories", overlapping + bytes(64), "refuse", note="inside one another")
    big = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", 2**63)
    yield Case(_tiff(big), "directories", big + bytes(100), "refuse", note="2^63 tags")


def _png_bomb() -> Case:
    """Well formed, 64 MPix of black in 64 kB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    data = zlib.compress(bytes(8_000 * 8_001), 9)
    header = struct.pack(">IIBBBBB", 8_000, 8_000, 8, 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return Case(Seed("PNG by hand", ".png", body), "pixel bomb", body, "refuse", note="64 MPix, well formed")
