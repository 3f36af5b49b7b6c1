"""A checksum beside a file is believed: what differs from it is refused, whatever its picture looks like."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from soilpipe.ingest.checksums import LONGEST, read_side_file
from soilpipe.ingest.decisions import accept, retry
from soilpipe.ingest.quarantine import open_quarantine
from soilpipe.ingest.receipts import read_receipt

SIX = "A20_2024-03-06_06H00M.tif"
SIDE = f"{SIX}.sha256"


@pytest.fixture
def good(draw, encode) -> bytes:
    return encode(draw(), ".tif")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WRITTEN = {
    "sha256sum": "{hex}  {name}\n",
    "sha256sum -b": "{hex} *{name}\n",
    "sha256sum --tag": "SHA256 ({name}) = {hex}\n",
    "openssl": "SHA256({name})= {hex}\n",
    "bare": "{hex}",
    "capitals": "{HEX}\r\n",
    "a path": "{hex}  ./scans/of today/{name}\n",
    "another name": "{hex}  before_it_was_renamed.tif\n",
    "a list": "{other}  other.tif\n{hex}  {name}\n",
    "a remark": "# made by the scanner\n{hex}  {name}\n",
    "escaped": "\\{hex}  back\\\\slash.tif\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("how", WRITTEN)
def test_every_way_of_writing_a_checksum_is_read(how: str, encoding: str) -> None:
    right, other = digest(b"1"), digest(b"2")
    text = WRITTEN[how].format(hex=right, HEX=right.upper(), name=SIX, other=other)
    told = read_side_file(text.encode(encoding), SIDE, SIX)
    assert (told.sha256, told.problem, told.source) == (right, None, SIDE)


UNREADABLE = {
    "empty": (b"", "is empty"),
    "prose": (b"checksum to follow", "64 hex digits"),
    "md5": (b"d41d8cd98f00b204e9800998ecf8427e  a.tif", "64 hex digits"),
    "half": (b"0" * 63, "64 hex digits"),
    "binary": (bytes(range(256)), "64 hex digits"),
    "of others": (f"{'1' * 64}  a.tif\n{'2' * 64}  b.tif".encode(), "2 checksums, and none for this file"),
    "contradiction": (f"{'1' * 64}  {SIX}\n{'2' * 64}  {SIX}".encode(), "2 checksums, and 2 for this file"),
    "long": (b"0" * (LONGEST + 1), "longer than 64 kB"),
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_what_is_no_checksum_is_told_and_stops_nothing(how: str, bench, good: bytes) -> None:
    data, why = UNREADABLE[how]
    bench.deliver(SIX, good)
    bench.deliver(SIDE, data)
    (outcome,) = bench.run()
    assert outcome.kind == "accepted" and SIDE in outcome.reason and why in outcome.reason
    assert read_receipt(bench.store, outcome.scan_id).checksum_from is None


def test_a_side_file_that_cannot_be_opened_is_told_and_stops_nothing(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    (Path(bench.scanner.inbox) / SIDE).mkdir()
    (outcome,) = bench.run()
    assert outcome.kind == "accepted" and SIDE in outcome.reason and "cannot be read" in outcome.reason


def test_a_checksum_that_fits_stands_in_the_receipt(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.deliver(SIDE, f"{digest(good)}  {SIX}\n".encode())
    bench.deliver("A20_2024-03-06_12H00M.tif", good[:-2] + b"\0\0")
    checked, unchecked = bench.run()
    assert (checked.kind, checked.reason) == ("accepted", None)
    assert read_receipt(bench.store, checked.scan_id).checksum_from == SIDE
    assert read_receipt(bench.store, unchecked.scan_id).checksum_from is None


def test_a_picture_with_a_black_end_that_nobody_could_tell_is_refused_by_its_checksum(bench, good: bytes) -> None:
    cut = good[: len(good) // 2] + bytes(len(good) - len(good) // 2)
    bench.deliver(SIX, cut)
    bench.deliver(SIDE, digest(good).encode())
    (outcome,) = bench.run()
    assert outcome.kind == "refused"
    for part in (SIX, SIDE, digest(cut), digest(good), "Copy it again"):
        assert part in outcome.reason
    (refusal,) = open_quarantine(bench.store, bench.scanner)
    assert (refusal.code, refusal.expected_sha256) == ("checksum", digest(good))
    assert bench.run() == []
    bench.deliver(SIX, good, age_s=1800)
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]
    assert open_quarantine(bench.store, bench.scanner) == []


def test_looking_again_does_not_forget_the_checksum_but_a_person_may(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.deliver(SIDE, b"0" * 64)
    (refused,) = bench.run()
    (again,) = retry(bench.project, bench.scanner, bench.store, bench.now)
    assert again.kind == "refused" and "0" * 64 in again.reason
    decision = accept(bench.project, bench.scanner, bench.store, refused.sha256, bench.now + timedelta(minutes=1))
    assert decision.outcome == "taken"
    assert read_receipt(bench.store, decision.scan_id).checksum_from is None
    assert open_quarantine(bench.store, bench.scanner) == []


def test_a_second_copy_beside_a_wrong_checksum_is_a_repeat(bench, good: bytes) -> None:
    bench.deliver(SIX, good)
    bench.run()
    bench.deliver("A20_2024-03-06_06H00M00S.tif", good)
    bench.deliver("A20_2024-03-06_06H00M00S.tif.sha256", b"0" * 64)
    assert [outcome.kind for outcome in bench.run()] == ["repeat"]
