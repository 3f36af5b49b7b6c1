"""Listing by pages: what lies between two keys, and which of some objects are there, without listing all the others."""

from __future__ import annotations

import random

import pytest

from soilpipe import s3_files
from soilpipe.store import Inbox, Store


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "PAGE", 5)


def names(count: int, seed: int = 0) -> list[str]:
    letters = "-.0179:AZ_az\u00e9\u4e00"
    rng = random.Random(seed)
    return sorted({"".join(rng.choices(letters, k=rng.randint(1, 4))).strip(".") + ".png" for _ in range(count)})


@pytest.mark.parametrize("place", ["moto", "rclone"], indirect=True)
def test_pages_one_after_the_other_are_the_whole_inbox(place) -> None:
    wanted = names(25)
    for name in (*wanted, "B-folder/x.png", "B-folder/y.png", "z-folder/x.png"):
        place.deliver(name, b"x")
    inbox = Inbox(place.scanner.inbox, place.scanner.inbox_options)
    found, after = [], ""
    while after is not None:
        page = inbox.page(after)
        assert len(page.entries) <= 5
        found += page.entries
        after = page.end
    assert [entry.key for entry in found] == wanted
    assert found == inbox.list()
    begun = [name for name in wanted if name.startswith("A")]
    assert [entry.key for entry in inbox.page("", "A").entries] == begun[:5]
    assert inbox.page(wanted[-1]).end is None and inbox.page(wanted[-1]).entries == ()


def test_keys_between_two_and_those_that_are_there(place) -> None:
    store: Store = place.store
    keys = [f"r/{year}/{name}" for year in (2023, 2024) for name in names(12, seed=year)]
    for key in keys:
        store.write_bytes(key, b"x")
    assert store.keys("r") == sorted(keys) and store.keys("r/2024") == [key for key in keys if "2024" in key]
    after, before = sorted(keys)[3], sorted(keys)[-4]
    assert store.keys("r", after=after, before=before) == [key for key in sorted(keys) if after < key < before]
    some = random.Random(1).sample(keys, 9)
    assert store.present([*some, "r/2024/none.png", "r/none/a.png", "q/none"]) == set(some)
    assert store.present([]) == set() and store.present(["r/2024"]) == set()
