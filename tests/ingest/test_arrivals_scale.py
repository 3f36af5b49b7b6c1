"""What a look costs does not grow with what is known; and the index that makes it so proves nothing by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe import layout
from soilpipe.ingest import index as index_module
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.index import load_index, remember
from soilpipe.ingest.receipts import list_receipts
from soilpipe.store import Entry, Store


def test_a_note_rewrites_the_notes_and_not_all_that_is_known(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(index_module, "NOTES", 4)
    store = Store(tmp_path / "store")
    written: list[str] = []
    real = Store.write_bytes
    monkeypatch.setattr(Store, "write_bytes", lambda self, key, data: (written.append(key), real(self, key, data)))
    for number in range(11):
        remember(store, "A", f"{number}.png", Entry("", number, 1.0), f"{number:064}", "refused")
    assert load_index(store, "A").files.keys() == {f"{number}.png" for number in range(11)}
    assert written.count(layout.index("A")) == 3  # the first, and after 5 and 5 more


def test_what_was_noted_last_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(index_module, "NOTES", 2)
    store = Store(tmp_path / "store")
    for number in range(8):
        remember(store, "A", "a.png", Entry("", number, 1.0), "0" * 64, "refused")
        remember(store, "A", f"b{number}.png", Entry("", 1, 1.0), "1" * 64, "refused")
        assert load_index(store, "A").files["a.png"].size == number


@pytest.mark.parametrize("broken", [b"", b"{", b'{"version":2,"files":{"a":{}}}', b"\xff"])
def test_a_damaged_index_is_made_again_from_the_truth(broken: bytes, bench, draw, encode) -> None:
    for hour in (6, 12):
        bench.deliver(f"A20_2024-03-06_{hour:02}H00M.png", encode(draw(seed=hour), ".png"))
    bench.run()
    before = load_index(bench.store, "A20")
    for key in (layout.index("A20"), layout.index_notes("A20")):
        bench.store.write_bytes(key, broken)
    assert load_index(bench.store, "A20") == before
    assert bench.run() == []


def test_only_the_years_that_lie_in_the_inbox_are_listed(bench, draw, encode, monkeypatch) -> None:
    paths = [
        bench.deliver(f"A20_{year}-03-06_06H00M.png", encode(draw(seed=year), ".png")) for year in (2021, 2022, 2023)
    ]
    bench.run()
    for path in paths[:2]:
        path.unlink()
    listed: list[str] = []
    for ask in ("list", "keys"):
        real = getattr(Store, ask)
        monkeypatch.setattr(Store, ask, lambda s, prefix, *a, real=real: listed.append(prefix) or real(s, prefix, *a))
    assert find_arrivals(bench.project, bench.scanner, bench.store, bench.now).known == 1
    assert sorted(listed) == ["quarantine/A20", "receipts/A20/2023"]


def test_a_lost_receipt_of_any_year_is_noticed_while_its_file_is_there(bench, draw, encode) -> None:
    for year in (2019, 2024):
        bench.deliver(f"A20_{year}-03-06_06H00M.png", encode(draw(seed=year), ".png"))
    bench.run()
    for receipt in list_receipts(bench.store, "A20"):
        bench.store.delete(layout.receipt(receipt.scan_id))
        assert [outcome.scan_id for outcome in bench.run()] == [receipt.scan_id]


@pytest.mark.parametrize("zone", ["Europe/Paris", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_conflict_on_new_years_day_is_found_whatever_the_year_in_utc(zone: str, make_bench, draw, encode) -> None:
    bench = make_bench(timezone=zone)
    for seed, time in enumerate(("2023-12-31_23H00M", "2024-01-01_00H00M")):
        bench.deliver(f"A20_{time}.png", encode(draw(seed=seed), ".png"))
        bench.deliver(f"A20_{time}00S.png", encode(draw(seed=seed + 9), ".png"))
    assert sorted(outcome.kind for outcome in bench.run()) == ["accepted", "accepted", "conflict", "conflict"]


def test_one_of_two_runs_finds_the_conflict_in_the_years_around(make_bench, draw, encode, monkeypatch) -> None:
    bench = make_bench(timezone="Pacific/Kiritimati")
    monkeypatch.setattr(scan_module, "check_conflicts", lambda *_: None)
    for seed, name in enumerate(("A20_2024-01-01_00H00M", "A20_2024-01-01_00H00M00S")):
        bench.deliver(f"{name}.png", encode(draw(seed=seed), ".png"))
    assert [outcome.kind for outcome in bench.run()] == ["accepted", "conflict"]
