"""Ingest is the same on a disk, on moto's S3 and on rclone's: the same files, the same outcomes, the same bytes."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from soilpipe import layout
from soilpipe.errors import SoilpipeError
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.quarantine import list_quarantine, open_quarantine
from soilpipe.ingest.receipts import list_receipts, read_receipt
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Store, StoreError
from soilpipe.tiles import open_image

pytestmark = pytest.mark.usefixtures("temporary")
SIX, NOON = "A20_2024-03-06_06H00M.png", "A20_2024-03-06_12H00M.png"


def picture(seed: int = 0, height: int = 300, width: int = 260) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image: np.ndarray, suffix: str = ".png", folder: Path | None = None) -> bytes:
    if suffix == ".tif":
        path = Path(tempfile.mkdtemp(dir=folder)) / "a.tif"
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=16, metadata=None)
        return path.read_bytes()
    if suffix == ".jp2":
        return imagecodecs.jpeg2k_encode(image, codecformat="jp2", reversible=True, level=0)
    return cv2.imencode(suffix, image[:, :, ::-1])[1].tobytes()


GOOD = encoded(picture())


def kinds(outcomes: list) -> list[str]:
    return [outcome.kind for outcome in outcomes]


def test_a_scan_is_taken_in_with_the_same_bytes_everywhere(place) -> None:
    place.deliver(SIX, GOOD)
    (outcome,) = place.run()
    (receipt,) = list_receipts(place.store, "A20")
    assert (outcome.kind, outcome.scan_id) == ("accepted", receipt.scan_id)
    assert receipt.captured_at == datetime(2024, 3, 6, 5, tzinfo=UTC)
    assert receipt.sha256 == hashlib.sha256(GOOD).hexdigest()
    for file in receipt.files:
        assert place.store.sha256(f"{layout.scan_folder(receipt.scan_id)}/{file.path}") == file.sha256
    level = open_image(place.store, receipt.scan_id, 1.0).levels[0]
    assert np.array_equal(level.read(0, 300, 0, 260), picture())
    assert place.store.read_bytes(layout.original(receipt.scan_id, "png")) == GOOD
    assert place.inbox.read_bytes(SIX) == GOOD  # an inbox is only ever read


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".jp2"])
def test_every_format_is_read(suffix: str, place, tmp_path: Path) -> None:
    place.deliver(f"A20_2024-03-06_06H00M{suffix}", encoded(picture(), suffix, tmp_path))
    assert kinds(place.run()) == ["accepted"]


def test_a_second_run_changes_nothing(place) -> None:
    place.deliver(SIX, GOOD)
    place.deliver(NOON, GOOD[:500])
    assert kinds(place.run()) == ["accepted", "refused"]
    before = place.truth()
    assert place.run() == [] and place.truth() == before


def test_a_lost_index_is_made_again_and_a_lost_receipt_is_taken_again(place) -> None:
    place.deliver(SIX, GOOD)
    place.deliver(NOON, GOOD[:500])
    place.run()
    before = place.truth()
    place.store.delete(layout.index("A20"))
    assert place.run() == [] and place.truth() == before
    (receipt,) = list_receipts(place.store, "A20")
    place.store.delete(layout.receipt(receipt.scan_id))
    assert kinds(place.run()) == ["accepted"] and place.truth() == before


@pytest.mark.parametrize(
    ("data", "code"), [(b"", "empty"), (GOOD[:-300], "truncated"), (b"only words", "not_an_image")]
)
def test_a_bad_file_is_refused_and_a_good_one_takes_its_place(data: bytes, code: str, place) -> None:
    place.deliver(SIX, data)
    assert kinds(place.run()) == ["refused"]
    assert [q.code for q in open_quarantine(place.store, place.scanner)] == [code]
    place.deliver(SIX, GOOD)
    assert kinds(place.run()) == ["accepted"]
    assert open_quarantine(place.store, place.scanner) == []


def test_repeats_and_conflicts_are_told(place) -> None:
    place.deliver(SIX, GOOD)
    assert kinds(place.run()) == ["accepted"]
    place.deliver("A20_2024-03-06_06H00M00S.png", GOOD)
    assert kinds(place.run()) == ["repeat"]
    place.deliver("A20_2024-03-06_06H00M00S.png", encoded(picture(1)))
    place.deliver(NOON, GOOD)
    assert kinds(place.run()) == ["conflict", "conflict"]
    assert {q.code for q in list_quarantine(place.store, "A20")} == {"same_time", "same_content"}
    assert place.run() == []


def test_a_young_file_waits_until_it_has_come_to_rest(place) -> None:
    place.deliver(SIX, GOOD)
    young = place.look(timedelta(seconds=60))
    assert (len(young.ready), len(young.growing)) == (0, 1)
    assert len(place.look(timedelta(seconds=60 + 121)).ready) == 1


def test_a_done_marker_is_waited_for_and_believed_at_once(place) -> None:
    marked = place.with_(done_marker=".done")
    marked.deliver(SIX, GOOD)
    assert marked.look(timedelta(days=1)).ready == ()
    marked.deliver(f"{SIX}.done", b"")
    assert [arrival.name for arrival in marked.look(timedelta()).ready] == [SIX]
    assert kinds(marked.run()) == ["accepted"]


def test_a_checksum_beside_the_file_is_believed(place) -> None:
    right = hashlib.sha256(GOOD).hexdigest()
    place.deliver(SIX, GOOD)
    place.deliver(f"{SIX}.sha256", f"{right}  {SIX}\n".encode())
    place.deliver(NOON, encoded(picture(3)))
    place.deliver(f"{NOON}.sha256", right.encode())
    accepted, refused = place.run()
    assert read_receipt(place.store, accepted.scan_id).checksum_from == f"{SIX}.sha256"
    assert refused.kind == "refused" and right in refused.reason
    assert [q.code for q in open_quarantine(place.store, place.scanner)] == ["checksum"]


def test_a_file_that_goes_away_or_changes_stops_nobody(place, monkeypatch) -> None:
    place.deliver(SIX, GOOD)
    place.deliver(NOON, encoded(picture(4)))
    first, second = place.look().ready
    now = datetime.now(UTC) + timedelta(hours=1)
    place.inbox.delete(SIX)
    assert ingest_file(place.project, place.scanner, place.store, first, now).kind == "vanished"
    real = scan_module.write_image

    def meanwhile(*args: object, **keys: object) -> object:
        written = real(*args, **keys)
        place.deliver(NOON, GOOD)
        return written

    monkeypatch.setattr(scan_module, "write_image", meanwhile)
    outcome = ingest_file(place.project, place.scanner, place.store, second, now)
    assert outcome.kind == "vanished" and "changed while it was read" in outcome.reason
    assert list_receipts(place.store, "A20") == [] and list_quarantine(place.store, "A20") == []
    monkeypatch.undo()
    assert kinds(place.run()) == ["accepted"]


def test_the_receipt_comes_last_and_what_failed_before_it_is_made_again(place, monkeypatch) -> None:
    place.deliver(SIX, GOOD)
    place.run()
    expected = place.truth()
    for key in expected:
        place.store.delete(key)
    real = Store.write_bytes
    written: list[str] = []

    def failing(self: Store, key: str, data: bytes) -> None:
        if key.startswith("receipts/"):
            raise StoreError("the cable was pulled")
        written.append(key)
        real(self, key, data)

    monkeypatch.setattr(Store, "write_bytes", failing)
    with pytest.raises(SoilpipeError, match="cable"):
        place.run()
    assert not [key for key in place.truth() if key.startswith("receipts/")]
    monkeypatch.setattr(Store, "write_bytes", real)
    assert kinds(place.run()) == ["accepted"]
    assert place.truth() == expected


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_the_checksum_that_s3_keeps_is_believed(place) -> None:
    import base64

    import boto3
    from moto.s3.models import s3_backends

    client = boto3.client(
        "s3", aws_access_key_id="test", aws_secret_access_key="test", **place.scanner.inbox_options["client_kwargs"]
    )
    bucket = place.scanner.inbox.removeprefix("s3://").partition("/")[0]
    other = encoded(picture(7))
    wrong = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
    client.put_object(Bucket=bucket, Key=f"inbox/A20/{SIX}", Body=GOOD, ChecksumAlgorithm="SHA256")
    client.put_object(Bucket=bucket, Key=f"inbox/A20/{NOON}", Body=other, ChecksumAlgorithm="SHA256")
    kept = s3_backends["123456789012"]["aws"].buckets[bucket].keys[f"inbox/A20/{NOON}"]
    assert kept.checksum_value
    kept.checksum_value = wrong  # as if the bytes had rotted: a server refuses to be told a wrong one
    accepted, refused = place.run()
    assert read_receipt(place.store, accepted.scan_id).checksum_from == "S3"
    assert refused.kind == "refused" and "S3 says" in refused.reason
    assert hashlib.sha256(b"another").hexdigest() in refused.reason
