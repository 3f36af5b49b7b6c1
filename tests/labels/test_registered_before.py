"""Registrations of labelled scans are kept, and what is kept is what would be found again, to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.background import Registration, register_all, registered_before
from soilpipe.background.registered_before import RegisteredBefore
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.taken import write_coco
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, open_image
from tests.labels.test_taken import mark

UM = 25400 / 1200


@pytest.fixture
def images(make_season: Callable[..., Any]) -> tuple[Store, list[ScanImage]]:
    """A store and four of its scans; the last one shows nothing to hold on to."""
    season = make_season()
    ids = [season.scan(number, light=1 - 0.1 * number) for number in range(3)]
    ids.append(season.scan(3, pixels=np.full((321, 450, 3), 90, np.uint8)))
    return season.store, [open_image(season.store, scan_id, UM) for scan_id in ids]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many references were registered, call by call."""
    calls: list[int] = []

    def counting(scan: ScanImage, references: Any) -> list[Registration]:
        calls.append(len(references))
        return register_all(scan, references)

    monkeypatch.setattr(registered_before, "register_all", counting)
    return calls


def alike(one: Registration, other: Registration) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name)) and getattr(one, name).dtype == np.float32
        for name in ("dy", "dx", "gain", "offset")
    )
    local = (one.local is None) == (other.local is None) and (
        one.local is None
        or (np.array_equal(one.local.gain, other.local.gain) and np.array_equal(one.local.offset, other.local.offset))  # type: ignore[union-attr]
    )
    rest = ("peak", "ok", "reason", "alike")
    return arrays and local and all(getattr(one, name) == getattr(other, name) for name in rest)


def test_what_was_registered_before_is_not_registered_again(
    images: tuple[Store, list[ScanImage]], made: list[int], tmp_path: Path
) -> None:
    store, (scan, *references) = images
    before = RegisteredBefore(store.root, tmp_path / "kept")
    first = before.register(scan, references[:2])
    again = RegisteredBefore(store.root, tmp_path / "kept").register(scan, references[::-1])
    assert made == [2, 1], "the third alone was new"
    assert [one.ok for one in again] == [False, True, True] and "hold on to" in again[0].reason
    assert all(map(alike, again[1:], first[::-1])) and all(map(alike, again, register_all(scan, references[::-1])))
    assert RegisteredBefore(store.root, tmp_path / "kept").register(scan, references[2:])[0].reason == again[0].reason
    assert made == [2, 1] and before.register(scan, []) == []


def test_other_stores_scales_and_releases_have_registrations_of_their_own(
    images: tuple[Store, list[ScanImage]], made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (scan, reference, *_) = images
    kept = tmp_path / "kept"
    RegisteredBefore(store.root, kept).register(scan, [reference])
    RegisteredBefore(Store(str(tmp_path / "other")).root, kept).register(scan, [reference])
    coarser = [open_image(store, str(one.scan_id), 2 * UM) for one in (scan, reference)]
    RegisteredBefore(store.root, kept).register(coarser[0], coarser[1:])
    RegisteredBefore(store.root, kept).register(reference, [scan])
    monkeypatch.setattr(registered_before, "code", lambda: "edited")
    RegisteredBefore(store.root, kept).register(scan, [reference])
    assert made == [1] * 5 and len(list(kept.glob("*/*.npz"))) == 5


@pytest.mark.parametrize("damage", [b"", b"PK", b"no zip at all", None])
def test_what_cannot_be_read_is_made_again(
    images: tuple[Store, list[ScanImage]], made: list[int], tmp_path: Path, damage: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    store, (scan, reference, *_) = images
    before = RegisteredBefore(store.root, tmp_path)
    (first,) = before.register(scan, [reference])
    (path,) = tmp_path.glob("*/*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    (again,) = before.register(scan, [reference])
    assert made == [1, 1] and alike(again, first) and "made again" in caplog.text
    assert path.read_bytes() == whole and before.register(scan, [reference]) and made == [1, 1]


def test_where_nothing_can_be_kept_nothing_is_and_all_goes_on(
    images: tuple[Store, list[ScanImage]], made: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, (scan, reference, *_) = images
    (tmp_path / "kept").write_bytes(b"a file where the folder would be")
    before = RegisteredBefore(store.root, tmp_path / "kept")
    for _ in range(2):
        assert before.register(scan, [reference])[0].ok
    before.tidy()
    assert made == [1, 1] and "cannot be kept" in caplog.text


def test_what_was_not_used_for_longest_goes_first(
    images: tuple[Store, list[ScanImage]], made: list[int], tmp_path: Path
) -> None:
    store, (scan, *references) = images
    before = RegisteredBefore(store.root, tmp_path)
    before.register(scan, references[:1])
    before.register(scan, references[1:2])
    for path in tmp_path.glob("*/*.npz"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before.register(scan, references[:1])
    before.tidy(sum(path.stat().st_size for path in tmp_path.glob("*/*.npz")) - 1)
    assert len(list(tmp_path.glob("*/*.npz"))) == 1
    before.register(scan, references[:1])
    assert made == [1, 1]


def test_tiles_are_compared_alike_whether_their_scans_were_registered_before(
    make_season: Callable[..., Any], made: list[int], tmp_path: Path
) -> None:
    season = make_season(scans=6)
    draw, _ = draw_tiles(season.project, season.store, tiles=6, tile_px=150)
    for tile in draw.tiles:
        mark(season, tile)
    for name in ("one", "two"):
        assert write_coco(season.project, season.store, tmp_path / name) is not None
        made.append(-1)
    first, second = made[: made.index(-1)], made[made.index(-1) + 1 : -1]
    assert sum(first) > 0 and sum(second) == 0
    files = sorted(path.name for path in (tmp_path / "one").glob("*-registered.npz"))
    assert files and all(same(tmp_path / "one" / name, tmp_path / "two" / name) for name in files)


def same(one: Path, other: Path) -> bool:
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(np.array_equal(a[name], b[name]) for name in a.files)
