"""Good small files of every kind, and hostile or broken ones made of them, all from a seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

HOLE = 4096
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Seed:
    """A good file. ``checked``: the byte ranges that a checksum of the format covers, all else is on trust."""

    kind: str
    suffix: str
    data: bytes
    checked: tuple[tuple[int, int], ...] = ()
    plain: bool = False

    @property
    def format_name(self) -> str:
        return {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF"}.get(self.suffix, "JPEG 2000")

    def all_checked(self, start: int, end: int) -> bool:
        return any(a <= start and end <= b for a, b in self.checked)


@dataclass(frozen=True)
class Case:
    """One file to read. ``must``: "refuse", "right" (the seed's pixels), or "either" of the two.

    ``trusted``: nothing in the format could tell its pixels from others, so that other pixels are no fault.
    """

    seed: Seed
    mutation: str
    data: bytes
    must: str = "either"
    trusted: bool = False
    suffix: str = ""
    note: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        return f"{self.seed.kind}, {self.mutation}{self.note and ' '}{self.note}"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: soil-like clutter."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def pil(image: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    photometric = "rgb" if image.ndim == 3 else "minisblack"
    tifffile.imwrite(file, image, **{"photometric": photometric, "metadata": None, "rowsperstrip": 32, **options})
    return file.getvalue()


def strips(data: bytes) -> tuple[tuple[int, int], ...]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
        return tuple((at, at + count) for at, count in pairs)


ENCODERS = {
    "JPEG": (".jpg", lambda i: pil(i, "JPEG", quality=95)),
    "JPEG optimized": (".jpg", lambda i: pil(i, "JPEG", quality=90, optimize=True, subsampling=0)),
    "JPEG progressive": (".jpg", lambda i: pil(i, "JPEG", quality=95, progressive=True)),
    "JPEG restarts": (".jpg", lambda i: pil(i, "JPEG", quality=95, restart_marker_rows=1)),
    "JPEG grey": (".jpg", lambda i: pil(np.ascontiguousarray(i[:, :, 0]), "JPEG", quality=97)),
    "PNG": (".png", lambda i: pil(i, "PNG")),
    "PNG 16 bit alpha": (".png", lambda i: imagecodecs.png_encode(np.dstack([i, i[:, :, :1]]).astype(np.uint16) * 257)),
    "TIFF plain": (".tif", tiff),
    "TIFF plain tiles": (".tif", lambda i: tiff(i, tile=(64, 64), byteorder=">")),
    "TIFF big": (".tif", lambda i: tiff(i.astype(np.uint16) * 257, bigtiff=True)),
    "TIFF LZW": (".tif", lambda i: tiff(i, compression="lzw", predictor=True)),
    "TIFF deflate": (".tif", lambda i: tiff(i, compression="deflate", predictor=True)),
    "TIFF deflate tiles": (".tif", lambda i: tiff(i, compression="deflate", tile=(64, 64))),
    "TIFF zstd": (".tif", lambda i: tiff(i, compression="zstd")),
    "TIFF PackBits": (".tif", lambda i: tiff(i, compression="packbits")),
    "TIFF JPEG": (".tif", lambda i: tiff(i, compression="jpeg", tile=(64, 64))),
    "TIFF JPEG tables": (".tif", lambda i: pil(i, "TIFF", compression="jpeg", quality=90)),
    "JPEG 2000": (".jp2", lambda i: pil(i, "JPEG2000")),
    "JPEG 2000 tiles": (".jp2", lambda i: pil(i, "JPEG2000", tile_size=(64, 64))),
    "JPEG 2000 precincts": (".jp2", lambda i: pil(i, "JPEG2000", precinct_size=(32, 32), codeblock_size=(16, 16))),
    "JPEG 2000 layers": (
        ".jp2",
        lambda i: pil(i, "JPEG2000", quality_mode="rates", quality_layers=[40, 10, 3], progression="RPCL"),
    ),
    "JPEG 2000 stream": (".j2k", lambda i: pil(i, "JPEG2000", no_jp2=True, irreversible=True)),
}


def seeds(height: int = 160, width: int = 200) -> list[Seed]:
    """Two good files of every kind: one all texture, one with much black, of which long zeros may be the code."""
    dark = picture(2 * height, 2 * width, seed=1)
    dark[height // 2 : -height // 2, width // 2 :] = 0
    both = (("", picture(height, width)), (", half black", dark))
    return [seed_of(kind, image, more) for more, image in both for kind in ENCODERS]


def seed_of(kind: str, image: np.ndarray, more: str = "") -> Seed:
    """A file of one of ENCODERS' kinds; ``more`` is added to its name."""
    suffix, encode = ENCODERS[kind]
    data = encode(image)
    checked: tuple[tuple[int, int], ...] = ()
    if suffix == ".png":
        checked = ((0, len(data)),)
    elif "deflate" in kind:
        checked = strips(data)
    return Seed(kind + more, suffix, data, checked, plain="plain" in kind or "big" in kind)


def cases(seed: Seed, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """About ``count`` broken or odd files made of one good one."""
    borders = sorted({at + shift for at in structure(seed) for shift in (-1, 0, 1, 2)} & set(range(1, len(seed.data))))
    kinds = [_cut, _tail, _hole, _short_hole, _flip, _flip_structure, _splice, _header_size]
    for number in range(count):
        yield from kinds[number % len(kinds)](seed, borders, rng)


def structure(seed: Seed) -> list[int]:
    """Where the parts of a file begin: segments, chunks, boxes, strips, tags."""
    data = seed.data
    if seed.suffix == ".png":
        found, at = [], 8
        while at + 8 <= len(data):
            found += [at, at + 4, at + 8]
            at += 12 + struct.unpack(">I", data[at : at + 4])[0]
        return found
    if seed.suffix == ".tif":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            tags = [place for tag in page.tags for place in (tag.offset, tag.offset + 4, tag.valueoffset)]
        return [4, 8, *tags, *(place for pair in strips(data) for place in pair)]
    marks = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] >= 0x4F]
    boxes = [data.find(kind) for kind in (b"jp2h", b"ihdr", b"colr", b"jp2c")]
    return [*(at for at in boxes if at > 0), *marks[:60], *marks[-30:]]


def _place(borders: list[int], size: int, rng: np.random.Generator) -> int:
    """A border of the format as often as any byte or a disk block's border."""
    choice = rng.integers(3)
    if choice == 0 and borders:
        return int(rng.choice(borders))
    at = int(rng.integers(1, size))
    return max(1, at // 512 * 512) if choice == 1 else at


def _cut(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    at = _place(borders, len(seed.data), rng)
    yield Case(seed, "cut", seed.data[:at], "either", note=f"at {at}")


def _tail(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    size = len(seed.data)
    at = _place(borders, size, rng)
    # Without a checksum, a few dark pixels at the very end are as good as any.
    few = {"TIFF PackBits": 7, "TIFF zstd": 1023}.get(seed.kind.split(",")[0], 0)
    trusted = size - at <= few or seed.plain
    yield Case(seed, "tail of zeros", seed.data[:at] + bytes(size - at), trusted=trusted, note=f"from {at}")


def _hole(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    size = len(seed.data)
    length = HOLE * int(rng.integers(1, 4))
    if length >= size:
        return
    at = min(_place(borders, size, rng), size - length)
    data = seed.data[:at] + bytes(length) + seed.data[at + length :]
    trusted = seed.plain and at + length > strips(seed.data)[0][0]
    yield Case(seed, "hole of zeros, 4 KiB or more", data, trusted=trusted, note=f"{length} at {at}")


def _short_hole(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    length = int(2 ** rng.uniform(0, 12))
    at = min(_place(borders, len(seed.data), rng), max(0, len(seed.data) - length))
    data = seed.data[:at] + bytes(length) + seed.data[at + length :]
    trusted = not seed.all_checked(at, at + length)
    yield Case(seed, "hole of zeros, shorter", data, trusted=trusted, note=f"{length} at {at}")


def _flip(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    data = bytearray(seed.data)
    places = rng.integers(0, len(data), int(rng.integers(1, 9))).tolist()
    for at in places:
        data[at] ^= int(rng.integers(1, 256))
    trusted = not any(seed.all_checked(at, at + 1) for at in places)
    yield Case(seed, "bytes flipped anywhere", bytes(data), trusted=trusted, note=str(places))


def _flip_structure(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    data = bytearray(seed.data)
    at = min(int(rng.choice(borders)) + int(rng.integers(0, 8)), len(data) - 1)
    data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1 << int(rng.integers(8))]))
    yield Case(seed, "bytes flipped in headers", bytes(data), trusted=not seed.all_checked(at, at + 1), note=f"at {at}")


def _splice(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    at, length = _place(borders, len(seed.data), rng), int(2 ** rng.uniform(0, 13))
    piece = seed.data[at : at + length]
    what = ["left out", "doubled", "of chance put in"][rng.integers(3)]
    middle = {"left out": b"", "doubled": piece * 2, "of chance put in": rng.bytes(length) + piece}[what]
    data = seed.data[:at] + middle + seed.data[at + length :]
    yield Case(seed, "bytes left out, doubled or put in", data, trusted=not seed.checked, note=f"{what} at {at}")


def _header_size(seed: Seed, borders: list[int], rng: np.random.Generator) -> Iterator[Case]:
    """The header says another size, and its own checksum and copies say so too."""
    factor = float(rng.choice([0, 0.01, 0.5, 0.9, 1.1, 2, 100, 1e5]))
    change = [(factor, 1.0), (1.0, factor), (factor, factor)][rng.integers(3)]
    data, blocks = resized(seed, *change)
    # The last blocks of a JPEG, and the last strip or tiles of a TIFF, may hang over: nothing tells how far.
    # JPEG 2000 has no check of its size at all.
    trusted = seed.suffix in (".jp2", ".j2k") or blocks
    yield Case(seed, "header says another size", data, trusted=trusted, note=f"x {change}")


def resized(seed: Seed, wider: float, higher: float) -> tuple[bytes, bool]:
    """The file with another size in its header; whether the same blocks, strips or tiles can hold that."""
    data = bytearray(seed.data)

    def scaled(width: int, height: int, most: int) -> tuple[int, int]:
        return min(int(width * wider), most), min(int(height * higher), most)

    if seed.suffix == ".png":
        struct.pack_into(">II", data, 16, *scaled(*struct.unpack_from(">II", data, 16), 2**31 - 1))
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif seed.suffix == ".tif":
        with tifffile.TiffFile(io.BytesIO(seed.data)) as file:
            tags, order = file.pages[0].tags, file.byteorder
            places = [(tags[code].valueoffset, "H" if tags[code].dtype == 3 else "I") for code in (256, 257)]
            columns, rows = (tags[322].value, tags[323].value) if 322 in tags else (1, tags[278].value)
        old = [struct.unpack_from(order + kind, data, at)[0] for at, kind in places]
        new = scaled(*old, 65535)
        for (at, kind), value in zip(places, new, strict=True):
            struct.pack_into(order + kind, data, at, value)
        return bytes(data), (-(-new[0] // columns), -(-new[1] // rows)) == (-(-old[0] // columns), -(-old[1] // rows))
    elif seed.suffix == ".jpg":
        at = next(at for at in range(len(data)) if data[at] == 0xFF and data[at + 1] in (0xC0, 0xC2)) + 5
        height, width = struct.unpack_from(">HH", data, at)
        new = scaled(width, height, 65535)
        struct.pack_into(">HH", data, at, new[1], new[0])
        samplings = [data[at + 6 + 3 * part] for part in range(data[at + 4])]
        wide, high = 8 * max(s >> 4 for s in samplings), 8 * max(s & 15 for s in samplings)
        return bytes(data), (-(-new[0] // wide), -(-new[1] // high)) == (-(-width // wide), -(-height // high))
    else:
        at = data.index(b"\xff\x4f\xff\x51") + 8
        new = scaled(*struct.unpack_from(">II", data, at), 2**31 - 1)
        struct.pack_into(">II", data, at, *new)
        if (header := data.find(b"ihdr")) > 0:
            struct.pack_into(">II", data, header + 4, new[1], new[0])
    return bytes(data), False
