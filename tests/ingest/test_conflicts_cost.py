"""What the look for conflicts costs: every scan is listed once a run, and for each file those of three days."""

from __future__ import annotations

import pytest

from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.conflicts import AcceptedScans
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Store


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was listed below `receipts/`, and after which key."""
    found: list[tuple[str, str]] = []
    real = Store.keys

    def keys(self: Store, prefix: str, suffix: str = "", *, after: str = "", before: str = "") -> list[str]:
        if prefix.startswith("receipts"):
            found.append((prefix, after))
        return real(self, prefix, suffix, after=after, before=before)

    monkeypatch.setattr(Store, "keys", keys)
    return found


def test_all_scans_are_listed_once_for_all_files_of_a_run(bench, draw, encode, listed) -> None:
    for hour in range(6):
        bench.deliver(f"A20_2024-03-06_{hour:02}H00M.png", encode(draw(seed=hour), ".png"))
    bench.deliver("A20_2024-03-06_03H00M00S.png", encode(draw(seed=77), ".png"))  # of the time of another
    bench.deliver("A20_2024-03-07_03H00M.png", encode(draw(seed=4), ".png"))  # of the content of another
    ready = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    accepted = AcceptedScans(bench.store, "A20")
    listed.clear()
    outcomes = [ingest_file(bench.project, bench.scanner, bench.store, one, bench.now, accepted) for one in ready]
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("accepted") == 6 and kinds.count("conflict") == 2
    assert [prefix for prefix, after in listed if not after] == ["receipts/A20"]
    assert len([prefix for prefix, after in listed if after]) == 6  # the look for twins of those accepted
    assert accepted.ids == set(list_scan_ids(bench.store, "A20"))


def test_a_scan_taken_away_since_it_was_listed_contradicts_nothing(bench, draw, encode) -> None:
    for name in ("A20_2024-03-06_03H00M.png", "A20_2024-03-06_03H00M00S.png"):
        bench.deliver(name, encode(draw(seed=len(name)), ".png"))
    one, other = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    accepted = AcceptedScans(bench.store, "A20")
    first = ingest_file(bench.project, bench.scanner, bench.store, one, bench.now, accepted)
    (key,) = bench.store.keys("receipts")
    bench.store.delete(key)
    second = ingest_file(bench.project, bench.scanner, bench.store, other, bench.now, accepted)
    assert (first.kind, second.kind) == ("accepted", "accepted")


@pytest.mark.parametrize("name", ["A20_2023-12-31_23H30M.png", "A20_2024-01-01_00H30M.png"])
def test_around_new_year_both_years_are_looked_at(name: str, bench, draw, encode, listed) -> None:
    bench.deliver(name, encode(draw(), ".png"))
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]
    assert {prefix for prefix, after in listed if after} == {"receipts/A20/2023", "receipts/A20/2024"}
