"""What killed runs and refused files leave: found by its age, removed, and nothing else with it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe import layout
from soilpipe.leftovers import SCAN_AFTER, WRITE_AFTER, find_leftovers, remove_leftover
from soilpipe.store import Store, StoreError
from tests.flow_fixtures import make_project

SCAN = layout.make_scan_id("A20", datetime(2024, 3, 6, 6), "0" * 64)
OTHER = layout.make_scan_id("A20", datetime(2024, 3, 6, 12), "1" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two scans, the second without a receipt."""
    made = Store(tmp_path / "store")
    for scan_id in (SCAN, OTHER):
        made.write_bytes(f"{layout.image_zarr(scan_id)}/0/c/0/0/0", b"pixels")
    made.write_json(layout.receipt(SCAN), {})
    return made


def later(time: timedelta) -> datetime:
    return datetime.now(UTC) + time + timedelta(minutes=1)


def all_keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list("")]


def test_a_scan_without_a_receipt_is_a_leftover_once_it_is_old(store: Store) -> None:
    assert find_leftovers(store, later(SCAN_AFTER / 2)).found == ()
    now = later(SCAN_AFTER)
    (left,) = find_leftovers(store, now).found
    assert (left.kind, left.key, left.size) == ("scan without receipt", layout.scan_folder(OTHER), 6)
    assert remove_leftover(store, left, now) == 6
    assert find_leftovers(store, now).found == ()
    assert set(all_keys(store)) == {layout.receipt(SCAN), f"{layout.image_zarr(SCAN)}/0/c/0/0/0"}
    assert store.folders("scans/A20/2024") == [SCAN], "no empty folders stay"
    assert remove_leftover(store, left, now) == 0


def test_unfinished_writes_go_after_a_day(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store/.tmp").mkdir(exist_ok=True)
    (tmp_path / "store/.tmp/0123").write_bytes(b"half a shard")
    os.utime(tmp_path / "store/.tmp/0123", (0, 0))  # when it was written is not what a program says
    assert find_leftovers(store, later(WRITE_AFTER / 2)).found == ()
    (left,) = find_leftovers(store, later(WRITE_AFTER)).found
    assert (left.kind, left.size) == ("unfinished write", 12)
    before = all_keys(store)
    assert remove_leftover(store, left, later(WRITE_AFTER)) == 12
    assert not list((tmp_path / "store/.tmp").iterdir()) and all_keys(store) == before
    assert remove_leftover(store, left, later(WRITE_AFTER)) == 0


def test_what_a_run_has_written_meanwhile_stays(store: Store) -> None:
    now = datetime.now(UTC) + SCAN_AFTER - timedelta(minutes=1)  # nothing is old by then
    (left,) = find_leftovers(store, later(SCAN_AFTER)).found
    assert remove_leftover(store, left, now) == 0
    store.write_json(layout.receipt(OTHER), {})
    assert remove_leftover(store, left, later(SCAN_AFTER)) == 0
    assert f"{layout.image_zarr(OTHER)}/0/c/0/0/0" in all_keys(store)


@pytest.mark.parametrize(
    "named", ["quarantine/A20/22/reason.json", "labels/draws/d.json", "records/quarantine/A20/d.json"]
)
def test_a_scan_that_something_else_names_has_lost_its_receipt_and_stays(named: str, store: Store) -> None:
    store.write_json(named, {"about": OTHER})
    left = find_leftovers(store, later(SCAN_AFTER))
    assert (left.found, left.lost) == ((), (OTHER,))


def test_so_does_one_that_was_detected_and_one_whose_original_is_whole(store: Store, tmp_path: Path) -> None:
    store.write_bytes(layout.detection_file("a1", OTHER), b"")
    (tmp_path / "picture").write_bytes(b"as it came")
    sha256 = store.put_file(tmp_path / "picture", "reports/x")
    for scan_id in (
        whole := layout.make_scan_id("B", datetime(2024, 1, 1), sha256),
        layout.make_scan_id("C", datetime(2024, 1, 1), "2" * 64),
    ):
        store.put_file(tmp_path / "picture", layout.original(scan_id, "png"))
    left = find_leftovers(store, later(SCAN_AFTER))
    assert left.lost == (OTHER, whole)
    assert [one.key.split("/")[1] for one in left.found] == ["C"]


def test_folders_of_others_are_left_alone(store: Store) -> None:
    store.write_bytes("scans/A20/2024/notes/read-me.txt", b"mine")
    store.write_bytes(f"scans/A20/2023/{OTHER}/moved", b"mine")
    assert [one.key for one in find_leftovers(store, later(SCAN_AFTER)).found] == [layout.scan_folder(OTHER)]


def test_the_command_lists_removes_and_verify_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "project")
    (project.store / ".tmp").mkdir(parents=True)
    (project.store / ".tmp/0123").write_bytes(bytes(3_000_000))

    def said(*command: str) -> str:
        done = CliRunner().invoke(app, [*command, "--project", str(project.file)], catch_exceptions=False)
        assert done.exit_code == 0 or command == ("verify",), done.output  # no series yet
        return done.stdout

    assert "Nothing was left over" in said("upkeep") and "Note" not in said("verify")
    monkeypatch.setattr("soilpipe.leftovers.WRITE_AFTER", timedelta(minutes=-1))
    assert "1 leftover of" in said("verify") and "3.0 MB" in said("verify")
    assert "Would be removed" in (told := said("upkeep", "--dry-run")) and ".tmp/0123" in told
    assert (project.store / ".tmp/0123").exists()
    assert "3.0 MB were freed" in said("upkeep")
    assert json.loads(said("upkeep", "--json")) == {"dry_run": False, "found": [], "freed": 0, "lost": []}


def test_a_server_that_does_not_tell_its_uploads_keeps_verify_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: object) -> None:
        raise PermissionError("Access Denied")

    project = make_project(tmp_path / "project")
    monkeypatch.setattr("soilpipe.local_files.LocalFiles.unfinished", denied)
    done = CliRunner().invoke(app, ["verify", "--project", str(project.file)], catch_exceptions=False)
    assert "has scans but no series" in done.stdout and "Note: leftovers of killed runs are not known" in done.stdout
    with pytest.raises(StoreError, match="Access Denied"):
        find_leftovers(Store(project.store), datetime.now(UTC))
