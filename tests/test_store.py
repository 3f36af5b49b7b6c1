from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from soilpipe.store import Inbox, InboxError, Store, StoreError, StoreFullError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_equal_values_are_equal_bytes(store: Store) -> None:
    store.write_json("a.json", {"b": 1, "a": "Forêt"})
    assert store.read_bytes("a.json") == '{\n "a": "Forêt",\n "b": 1\n}\n'.encode()
    assert store.read_json("a.json") == {"a": "Forêt", "b": 1}


def test_a_name_that_is_not_unicode_survives_json(store: Store) -> None:
    store.write_json("a.json", os.fsdecode(b"scan\xff.jpg"))
    assert store.read_json("a.json") == os.fsdecode(b"scan\xff.jpg")


def test_a_store_appears_with_its_first_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.list("receipts") == [] and not store.exists("x")
    assert not (tmp_path / "store").exists()


def test_an_equal_object_is_not_written_again(store: Store, tmp_path: Path) -> None:
    assert store.write_if_changed("a/b", b"1")
    before = (tmp_path / "store/a/b").stat()
    assert not store.write_if_changed("a/b", b"1")
    assert (tmp_path / "store/a/b").stat() == before
    assert store.write_if_changed("a/b", b"2") and store.read_bytes("a/b") == b"2"


def test_listing_is_sorted_recursive_and_without_unfinished_writes(store: Store, tmp_path: Path) -> None:
    for key in ("r/b.json", "r/a/z.json", "r/a.txt", "rest/x.json"):
        store.write_bytes(key, b"12")
    (tmp_path / "store/.tmp/left-by-a-kill").write_bytes(b"")
    assert [entry.key for entry in store.list("r", ".json")] == ["r/a/z.json", "r/b.json"]
    assert [entry.size for entry in store.list("rest")] == [2]
    assert [entry.key for entry in store.list("")] == ["r/a.txt", "r/a/z.json", "r/b.json", "rest/x.json"]


def test_a_killed_or_failed_write_leaves_the_old_object(store: Store, tmp_path: Path, monkeypatch) -> None:
    store.write_bytes("a", b"old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(StoreFullError, match=r"no space left .* nothing was lost"):
        store.write_bytes("a", b"new")
    assert store.read_bytes("a") == b"old"
    assert list((tmp_path / "store/.tmp").iterdir()) == []


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_missing_is_both_a_store_error_and_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nope")
    with pytest.raises(StoreError, match="no nope"):
        store.sha256("nope")
    store.delete("nope")


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/./b", "", "a\0"])
def test_no_key_leads_out_of_the_store(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="no key"):
        store.write_bytes(key, b"")


def test_json_that_is_none_is_told(store: Store) -> None:
    store.write_bytes("a.json", b"{")
    with pytest.raises(StoreError, match="not valid JSON"):
        store.read_json("a.json")


def test_a_file_is_copied_with_its_hash(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert store.put_file(tmp_path / "file", "copy") == store.sha256("copy")
    store.sync("copy")


def test_a_store_travels_to_other_processes(store: Store) -> None:
    store.write_bytes("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read_bytes("a") == b"1"


def test_an_inbox_lists_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "in/folder").mkdir(parents=True)
    (tmp_path / "in/folder/x.jpg").write_bytes(b"")
    (tmp_path / "in/b.jpg").write_bytes(b"123")
    (tmp_path / "in/gone.jpg").symlink_to(tmp_path / "nowhere")
    inbox = Inbox(tmp_path / "in")
    (entry,) = inbox.list()
    assert (entry.key, entry.size) == ("b.jpg", 3)
    with inbox.open_local(entry) as path:
        assert path.read_bytes() == b"123"
    (tmp_path / "in/b.jpg").unlink()
    assert inbox.stat(entry) is None
    with pytest.raises(FileNotFoundError), inbox.open_local(entry):
        pass


def test_an_inbox_that_does_not_exist_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InboxError, match=r"does not exist.*correct `inbox`"):
        Inbox(tmp_path / "nope").list()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InboxError, match="not a folder"):
        Inbox(tmp_path / "file").list()
