"""An object that must be new is written once, whoever else writes it, wherever the store is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from soilpipe.atomic import write_atomically
from soilpipe.store import Store
from tests.storage.conftest import Place

KEY = "records/promotions/detector-000000.json"


def test_what_is_there_stays(place: Place) -> None:
    assert place.store.create_bytes(KEY, b"first")
    assert not place.store.create_bytes(KEY, b"second")
    assert place.store.read_bytes(KEY) == b"first"
    assert place.store.create_bytes(KEY, b"first"), "sent again, since the answer was lost"


@pytest.mark.parametrize("place", ["disk", "moto"], indirect=True)  # rclone's server knows no conditions
def test_of_many_at_once_one_succeeds(place: Place) -> None:
    stores = [place.store for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            key = f"records/promotions/detector-{number:06d}.json"
            done = list(pool.map(lambda one: stores[one].create_bytes(key, b"%d" % one), range(8)))  # noqa: B023
            assert sum(done) == 1 and place.store.read_bytes(key) == b"%d" % done.index(True)


def test_nothing_unfinished_is_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.create_bytes(KEY, b"first") and not store.create_bytes(KEY, b"second")
    assert not list((tmp_path / ".tmp").iterdir())
    assert (tmp_path / KEY).stat().st_nlink == 1


def test_a_disk_without_hard_links_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    target, temporary = tmp_path / "a" / "b", tmp_path / ".tmp"
    write_atomically(target, temporary, iter([b"first"]), new=True)
    with pytest.raises(FileExistsError):
        write_atomically(target, temporary, iter([b"second"]), new=True)
    assert target.read_bytes() == b"first" and not list(temporary.iterdir())
