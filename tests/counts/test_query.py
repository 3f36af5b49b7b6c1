"""Counts for people: a gap stays a gap, and what must not be pooled is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from soilpipe.config import ConfigError
from soilpipe.counts.query import PERIOD_COLUMNS, SLOT_COLUMNS, VALIDATION_IN_WORDS, QueryError, query_counts
from soilpipe.counts.series import build_series
from soilpipe.schemas import VALIDATIONS

START = datetime(2024, 3, 6, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)


def mites(number: int) -> list[tuple[str, tuple[float, ...]]]:
    return [("Acari", (100.0 * k, 100, 100 * k + 20, 120)) for k in range(number)]


@pytest.fixture
def counted(season: Any) -> Any:
    """Three days: two of four slots with 2 and 4 mites, a day without a scan, a day with one scan of 6."""
    season.publish(season.analysis())
    for hours, number in ((0, 2), (6, 4), (48, 6)):
        season.scan(START + hours * HOUR, mites(number))
    build_series(season.project, season.store, "A20", START + 90 * HOUR)
    return season


def ask(season: Any, **question: Any) -> pd.DataFrame:
    return query_counts(season.project, season.store, **{"scanners": None, "taxa": ["Acari"], **question})


def test_by_slot_gives_the_table_with_its_gaps(counted: Any) -> None:
    frame = ask(counted, by="slot")
    assert tuple(frame.columns) == SLOT_COLUMNS
    assert [None if pd.isna(n) else int(n) for n in frame["n"]] == [2, 4, *[None] * 6, 6, *[None] * 7]
    assert str(frame["n"].dtype) == "Int64"


def test_a_day_is_the_mean_over_the_slots_that_have_a_count(counted: Any) -> None:
    frame = ask(counted, by="day")
    assert tuple(frame.columns) == PERIOD_COLUMNS
    days = frame.set_index("date")
    first = days.loc[date(2024, 3, 6)]
    assert (first["n_mean"], first["n_max"], first["n_sum"]) == (3.0, 4, 6)
    assert (first["slots_observed"], first["slots_expected"]) == (2, 4)
    assert (first["n_new_sum"], first["n_new_slots"]) == (2, 1)


def test_a_day_without_a_scan_has_no_number(counted: Any) -> None:
    gap = ask(counted, by="day").set_index("date").loc[date(2024, 3, 7)]
    assert gap[["n_mean", "n_max", "n_sum", "n_new_sum", "n_per_m2_window_mean"]].isna().all()
    assert (gap["slots_observed"], gap["slots_expected"]) == (0, 4)


def test_a_single_scan_cannot_tell_what_is_new(counted: Any) -> None:
    day = ask(counted, by="day").set_index("date").loc[date(2024, 3, 8)]
    assert day["n_mean"] == 6.0 and pd.isna(day["n_new_sum"]) and day["n_new_slots"] == 0


def test_a_week_begins_on_monday(counted: Any) -> None:
    frame = ask(counted, by="week")
    assert frame["date"].tolist() == [date(2024, 3, 4)]
    assert frame[["n_mean", "slots_observed", "slots_expected"]].iloc[0].tolist() == [4.0, 3, 16]


def test_since_and_until_are_local_days_and_the_last_is_included(counted: Any) -> None:
    frame = ask(counted, by="day", since=date(2024, 3, 7), until=date(2024, 3, 8))
    assert frame["date"].tolist() == [date(2024, 3, 7), date(2024, 3, 8)]
    slots = ask(counted, by="slot", since=START + 6 * HOUR, until=START + 12 * HOUR)
    assert [int(n) for n in slots["n"]] == [4]


def test_names_are_found_as_people_write_them(counted: Any) -> None:
    assert len(ask(counted, taxa=["acari"], by="day")) == 4
    assert set(ask(counted, taxa=["Acari", "Collembola"], by="day")["taxon"]) == {"Acari", "Collembola"}
    with pytest.raises(QueryError, match="Collembola"):
        ask(counted, taxa=["Colembola"])


def test_an_unknown_scanner_and_an_unknown_period_are_told(counted: Any) -> None:
    with pytest.raises(ConfigError, match="A20"):
        ask(counted, scanners=["A2O"])
    with pytest.raises(QueryError, match="slot, day or week"):
        ask(counted, by="month")


def test_all_taxa_come_in_the_order_of_the_taxonomy(counted: Any) -> None:
    frame = ask(counted, taxa=None, by="day", until=date(2024, 3, 6))
    order = [name for name in counted.project.taxonomy.names if name in set(frame["taxon"])]
    assert frame["taxon"].tolist() == order
    assert frame.set_index("taxon").loc["Invertebrata", "n_sum"] == 6


def test_different_dpi_and_analyses_stay_apart(season: Any) -> None:
    first, second = season.analysis("first"), season.analysis("second")
    season.publish(first)
    season.publish(second, START + 18 * HOUR)
    season.scan(START, mites(1), analysis_id=first)
    season.scan(START + 6 * HOUR, mites(2), analysis_id=first, dpi=2400.0)
    season.scan(START + 18 * HOUR, mites(5), analysis_id=second)
    build_series(season.project, season.store, "A20", START + 18 * HOUR)
    frame = ask(season, by="day")
    found = [
        tuple(row) for row in frame[["dpi", "analysis_id", "n_sum", "slots_observed", "slots_expected"]].to_numpy()
    ]
    assert sorted(found) == sorted([(1200.0, first, 1, 1, 4), (2400.0, first, 2, 1, 4), (1200.0, second, 5, 1, 4)])


def test_scanners_stay_apart_and_come_in_the_order_of_the_project_file(season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner("Z9"), make_scanner("A20"))
    for scanner_id, number in (("Z9", 1), ("A20", 3)):
        season.publish(season.analysis(), scanner_id=scanner_id)
        season.scan(START, mites(number), scanner_id=scanner_id)
        build_series(season.project, season.store, scanner_id, START)
    frame = ask(season, by="day")
    assert list(zip(frame["scanner_id"], frame["n_sum"], strict=True)) == [("Z9", 1), ("A20", 3)]
    assert ask(season, scanners=["A20"], by="slot")["n"].tolist() == [3]


def test_an_unknown_dpi_is_a_value_like_any_other(season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(slots="irregular"))
    season.publish(season.analysis())
    season.scan(START, mites(2), dpi=None)
    build_series(season.project, season.store, "A20", START)
    frame = ask(season, by="day")
    assert frame["n_sum"].tolist() == [2] and frame["dpi"].isna().all()


@pytest.mark.parametrize("by", ["slot", "day", "week"])
def test_a_project_without_series_gives_an_empty_table_with_all_columns(season: Any, by: str) -> None:
    frame = query_counts(season.project, season.store, None, None, None, None, by)  # type: ignore[arg-type]
    assert len(frame) == 0
    assert tuple(frame.columns) == (SLOT_COLUMNS if by == "slot" else PERIOD_COLUMNS)


def test_every_validation_can_be_said_in_words() -> None:
    assert set(VALIDATION_IN_WORDS) == set(VALIDATIONS)


def test_a_damaged_file_is_told_with_what_to_do(counted: Any) -> None:
    key = counted.store.list("series/counts")[0].key
    counted.store.write_bytes(key, counted.store.read_bytes(key)[:-9])
    with pytest.raises(QueryError, match="soilpipe rebuild"):
        ask(counted)
