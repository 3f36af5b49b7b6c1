"""Leftovers in every kind of place: what was never finished, and scans without a receipt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from soilpipe import layout
from soilpipe.leftovers import find_leftovers, remove_leftover
from tests.storage.conftest import Place


def begin_upload(place: Place, key: str) -> None:
    """A write that is killed in between: a file in `.tmp/`, on S3 an upload of which two parts have come."""
    if not place.s3:
        place.store.write_bytes(".tmp/0123", bytes(11 << 20))
        return
    files = place.store._files
    bucket, _, path = files._path(key).partition("/")
    upload = files._fs.call_s3("create_multipart_upload", Bucket=bucket, Key=path)["UploadId"]
    for number, size in ((1, 10 << 20), (2, 1 << 20)):
        files._fs.call_s3("upload_part", Bucket=bucket, Key=path, UploadId=upload, PartNumber=number, Body=bytes(size))


def test_what_is_old_goes_and_what_a_receipt_lists_stays(place: Place) -> None:
    kept, left = (layout.make_scan_id("A20", datetime(2024, 3, 6, hour), f"{hour:064}") for hour in (6, 12))
    store, now = place.store, datetime.now(UTC)
    for scan_id in (kept, left):
        store.write_bytes(f"{layout.image_zarr(scan_id)}/0/c/0/0/0", b"pixels")
    store.write_json(layout.receipt(kept), {})
    begin_upload(place, layout.original(left, "tif"))
    before = {entry.key for entry in store.list("")}

    young = find_leftovers(store, now).found
    assert [one for one in young if one.changed.year > 2010] == []  # which moto says of every upload
    later = now + timedelta(days=8)
    found = find_leftovers(store, later).found
    assert [(one.kind, one.size) for one in found] == [("unfinished write", 11 << 20), ("scan without receipt", 6)]
    assert sum(remove_leftover(store, one, later) for one in found) == (11 << 20) + 6
    assert find_leftovers(store, later).found == ()
    gone = {key for key in before if key.startswith(layout.scan_folder(left))}
    assert {entry.key for entry in store.list("")} == before - gone and gone
    assert sum(remove_leftover(store, one, later) for one in found) == 0
