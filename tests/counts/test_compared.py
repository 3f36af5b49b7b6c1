"""What a scan was compared with when it was detected, told in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import pytest

from soilpipe import layout
from soilpipe.compared import LOOKS_ALONE, compared_with
from soilpipe.config import ConfigError
from soilpipe.counts.query import QueryError
from soilpipe.counts.uncompared import Uncompared, uncompared_scans
from soilpipe.parquet import from_parquet, to_parquet
from soilpipe.report.page import write_report
from tests.counts.built import HOUR, MITE, START, build, counts, table

MOVED = "no match within 5% of the shorter side (best: 300 px away): the scanner was moved, or it shows other ground"


def told(*reasons: str, difference: str = "as it is") -> dict[str, Any]:
    """Metadata of a detection file with a reference per reason; "": it was usable."""
    references = [{"scan_id": f"r{i}", "ok": not reason, "reason": reason} for i, reason in enumerate(reasons)]
    return {"difference": difference, "references": references}


def detected(season: Any, *compared: dict[str, Any], found: Sequence[Any] = (MITE,)) -> pd.DataFrame:
    """The slots of a season with a scan per metadata."""
    analysis_id = season.analysis()
    season.publish(analysis_id)
    for number, metadata in enumerate(compared):
        season.detect(season.receipt(START + 6 * number * HOUR), found, analysis_id, metadata)
    build(season, START + 6 * (len(compared) - 1) * HOUR)
    return table(season, "slots")


def test_a_scan_that_was_compared_with_nothing_is_marked_and_stays_observed_and_counted(season: Any) -> None:
    made = [(), ("",), ("", ""), [MOVED] * 4, ("", MOVED), ("", MOVED, ""), (MOVED,)]
    slots = detected(season, *(told(*reasons) for reasons in made))
    assert list(slots["references_used"]) == [0, 0, 2, 0, 0, 2, 0]
    assert set(slots["state"]) == {"observed"} and counts(season, "Acari") == [1] * 7
    reasons = [None if pd.isna(reason) else str(reason) for reason in slots["reason"]]
    why = [
        reason.removeprefix("compared with nothing, so more animals are missed than usual: ") if reason else None
        for reason in reasons
    ]
    assert why == [
        "the store holds no earlier scan of its dpi and size",
        "there is only one earlier scan of its dpi and size",
        None,
        f"of 4 earlier scans none can be used ({MOVED})",
        f"of 2 earlier scans one can be used ({MOVED})",
        None,
        f"the only earlier scan cannot be used ({MOVED})",
    ]


def test_where_nobody_knows_nothing_is_said(season: Any) -> None:
    """A detector that compares nothing; files of earlier releases; and no file."""
    slots = detected(season, told(difference=LOOKS_ALONE), {"references": []}, {"detector": "old"})
    assert slots["references_used"].isna().all() and slots["reason"].isna().all()
    season.receipt(START + 18 * HOUR)
    build(season, START + 18 * HOUR)
    last = table(season, "slots").iloc[-1]
    assert pd.isna(last["references_used"]) and last["reason"] == "not analysed yet"


def test_what_looks_at_changes_alone_says_that_it_can_find_nothing() -> None:
    doubt = compared_with({"detector": "change", **told()}).doubt
    assert doubt is not None and doubt.startswith("compared with nothing, so nothing can be found: ")


def test_the_page_that_is_made_of_the_tables_marks_it(season: Any) -> None:
    detected(season, told(), told("", ""), told(MOVED, MOVED))
    write_report(season.project, season.store)
    page = season.store.read_bytes("reports/A20.html").decode()
    assert "2 of the counted scans were compared with nothing" in page
    assert page.count("<td>compared with nothing, so more animals") == 2 and "the scanner was moved" in page


def test_how_many_scans_were_compared_with_nothing_is_told_of_the_time_that_is_asked_for(season: Any) -> None:
    detected(season, *[told()] * 2, *[told("", "")] * 3, told(MOVED), *[told("", "")] * 3)

    def asked(*when: Any, scanners: Sequence[str] | None = None) -> dict[str, Uncompared]:
        return uncompared_scans(season.project, season.store, scanners, *when)

    assert asked() == {"A20": Uncompared(9, 3)}
    assert asked(date(2024, 3, 7), None, scanners=["A20"]) == {"A20": Uncompared(5, 1)}
    assert asked(None, date(2024, 3, 6)) == {"A20": Uncompared(4, 2)}
    assert asked(START + 6 * HOUR, START + 30 * HOUR) == {"A20": Uncompared(4, 1)}
    assert asked(date(2025, 1, 1)) == {}
    with pytest.raises(ConfigError):
        asked(scanners=["A99"])
    season.store.write_bytes(layout.series_file("slots", "A20", 2024), b"PAR1")
    with pytest.raises(QueryError, match="soilpipe rebuild"):
        asked()


def test_nothing_is_told_of_scans_of_which_nobody_knows(season: Any) -> None:
    assert uncompared_scans(season.project, season.store) == {}
    detected(season, told(difference=LOOKS_ALONE))
    assert uncompared_scans(season.project, season.store) == {}
    key = layout.series_file("slots", "A20", 2024)
    earlier = from_parquet(season.store.read_bytes(key)).drop_columns(["references_used"])
    season.store.write_bytes(key, to_parquet(earlier))
    assert uncompared_scans(season.project, season.store) == {}
