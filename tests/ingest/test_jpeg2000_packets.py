"""The packets of good files are followed to the end of each tile; empty ones are no hole, and a hole is not them."""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from soilpipe.ingest.readers import Refused, open_reader
from soilpipe.ingest.readers import jpeg2000_packets as packets
from soilpipe.ingest.readers.jpeg2000_marks import Codestream, walk

ORDERS = ["LRCP", *(pytest.param(order, marks=pytest.mark.slow) for order in ("RPCL", "RLCP", "PCRL", "CPRL"))]
FINE = {"precinct_size": (32, 32), "codeblock_size": (16, 16)}
LAYERS = {"quality_mode": "rates", "quality_layers": [80, 20, 5]}
TILES = {"tile_size": (64, 48), "offset": (20, 30), "tile_offset": (10, 20)}
KINDS = {
    "as it comes": {},
    "precincts": FINE,
    "layers": LAYERS | {"irreversible": True},
    "both": FINE | LAYERS,
    "tiles": TILES,
    "tiles, layers, high precincts": TILES | LAYERS | {"precinct_size": (64, 128), "codeblock_size": (16, 16)},
    "few resolutions": FINE | {"num_resolutions": 2},
}


def encoded(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG2000", no_jp2=True, **options)
    return file.getvalue()


@contextmanager
def walked(data: bytes, path: Path) -> Iterator[tuple[mmap.mmap, Codestream]]:
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped, walk(mapped, 0, len(data))


def tile_of(stream: Codestream, tile: int) -> tuple[tuple[int, int, int, int], list[packets.Coding]]:
    """Its area, and the coding of each component."""
    grid, own = stream.grid, stream.codings[tile]
    one = grid.one(tile % grid.across, tile // grid.across)
    return (one.x0, one.y0, one.x1, one.y1), [own.get(number, own[None]) for number in range(grid.components)]


def holes(data: bytes, path: Path) -> list[int | None]:
    """What find_hole says of each tile, whether or not there are zeros in it."""
    with walked(data, path) as (mapped, stream):
        work = packets.Work(10**6)
        tiles = stream.packets.items()
        return [packets.find_hole(mapped, parts, *tile_of(stream, tile), work) for tile, parts in tiles]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_packets_are_followed_to_the_end_of_every_tile(order: str, kind: str, draw, tmp_path: Path) -> None:
    image = draw(150, 190)
    image[40:120, 30:100] = 0
    found = holes(encoded(image, progression=order, **KINDS[kind]), tmp_path / "file")
    assert found == [None] * len(found)
    assert len(found) == (16 if "tile_size" in KINDS[kind] else 1)


@pytest.mark.slow
def test_two_kilobytes_left_out_or_put_in_are_told(draw, tmp_path: Path) -> None:
    data = encoded(draw(150, 190), **FINE, **LAYERS)
    part, start = data.index(b"\xff\x90"), data.index(b"\xff\x93") + 2
    for at in np.linspace(start, len(data) - 2100, 12).astype(int).tolist():
        for changed in (data[:at] + data[at + 2000 :], data[:at] + b"\x80" * 2000 + data[at:]):
            length = struct.pack(">I", len(changed) - 2 - part)
            assert holes(changed[: part + 6] + length + changed[part + 10 :], tmp_path / "file") != [None]


def rewritten(data: bytes, path: Path, *, empty: bytes, before: bool = False, after: bool = False) -> bytes:
    """One tile's packets again: those of precincts without content as ``empty``, with marks before (SOP) and after
    (EPH) each header."""
    with walked(data, path) as (mapped, stream):
        ((start, end),) = stream.packets[0]
        area, codings = tile_of(stream, 0)
        found = []
        at = start
        for layer, precinct in packets._packets(area, codings, packets.Work(10**6), end - start):
            body, length = precinct.read_header(mapped, at, end, layer)
            found.append((id(precinct), precinct, data[at:body], data[body : body + length]))
            at = body + length
        assert at == end
    content = {number for number, _, _, body in found if body}
    pieces = []
    for count, (number, _, header, body) in enumerate(found):
        sop = struct.pack(">HHH", 0xFF91, 4, count % 65536) if before else b""
        pieces.append(sop + (header if number in content else empty) + (b"\xff\x92" if after else b"") + body)
    head = bytearray(data[:start])
    head[head.index(b"\xff\x52") + 4] |= 2 * before | 4 * after
    part = head.index(b"\xff\x90")
    head[part + 6 : part + 10] = struct.pack(">I", start - part + sum(map(len, pieces)))
    return bytes(head) + b"".join(pieces) + b"\xff\xd9"


@pytest.fixture
def mostly_even(draw) -> np.ndarray:
    """Ground in two corners, and an even grey between them, of which all coefficients are zero."""
    image = np.full((512, 512, 3), 128, np.uint8)
    image[:60, :512] = draw(60, 512)
    image[440:, 300:] = draw(72, 212)
    return image


@pytest.mark.parametrize("order", ORDERS)
def test_packets_without_content_may_be_zeros_and_holes_may_not(
    order: str, mostly_even: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "scan.j2k"

    def read(data: bytes) -> np.ndarray:
        path.write_bytes(data)
        with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
            return np.concatenate(list(reader.bands(128)))

    plain = encoded(mostly_even, progression=order, **FINE, **LAYERS)
    data = rewritten(plain, tmp_path / "plain", empty=b"\0")
    if order in ("RPCL", "PCRL", "CPRL"):
        assert bytes(1024) in data
    whole = imagecodecs.jpeg2k_decode(data)
    assert np.array_equal(whole, imagecodecs.jpeg2k_decode(plain))
    assert np.array_equal(read(data), whole)
    start = data.index(b"\xff\x93") + 2
    for at in np.linspace(start, len(data) - 4098, 4).astype(int).tolist():
        changed = data[:at] + bytes(4096) + data[at + 4096 :]
        with pytest.raises(Refused, match="hole of zeros"):
            read(changed)


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_marks_before_and_after_packet_headers(
    before: bool, after: bool, mostly_even: np.ndarray, tmp_path: Path
) -> None:
    plain = encoded(mostly_even, **FINE)
    data = rewritten(plain, tmp_path / "plain", empty=b"\0", before=before, after=after)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), mostly_even)
    assert holes(data, tmp_path / "file") == [None]
