"""What stands in the tables: a gap is not a zero, and nothing is claimed that was not seen."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from soilpipe import layout
from soilpipe.analyses import published_analysis
from soilpipe.parquet import from_parquet, metadata_of
from soilpipe.schemas import COUNTS, DETECTIONS, SLOTS, STATES
from tests.counts.built import HOUR, MITE, SPRINGTAIL, START, build, counts, table


def test_a_gap_is_not_a_zero(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    season.scan(START + 12 * HOUR, [])  # looked, and found nothing
    season.scan(START + 18 * HOUR, None)  # not analysed
    season.scan(START + 24 * HOUR, [MITE], usable=0.49)  # fogged
    season.scan(START + 33 * HOUR, [MITE])  # three hours late
    season.refuse(START + 36 * HOUR)
    build(season, START + 42 * HOUR)
    slots = table(season, "slots")
    assert list(slots["state"]) == [
        "observed",
        "missing",
        "observed",
        "observed",
        "observed",
        "late",
        "quarantined",
        "pending",
    ]
    assert counts(season, "Acari") == [1, None, 0, None, None, 1, None, None]
    assert counts(season, "Collembola") == [0, None, 0, None, None, 0, None, None]
    reasons = list(slots["reason"])
    assert pd.isna(reasons[0])
    assert reasons[3] == "not analysed yet"
    assert reasons[4].startswith("only 49% of the window")
    assert reasons[6] == "truncated: the file ends too early"


def test_what_is_new_needs_the_slot_before(season: Any) -> None:
    season.publish(season.analysis())
    for hours, found in ((0, [MITE]), (6, [MITE, SPRINGTAIL]), (18, [MITE, SPRINGTAIL]), (24, [SPRINGTAIL])):
        season.scan(START + hours * HOUR, found)
    build(season, START + 24 * HOUR)
    assert counts(season, "Collembola", "n_new") == [None, 1, None, None, 0]
    assert counts(season, "Collembola", "n_total") == [0, 1, None, 1, 1]
    changes = table(season, "detections").groupby("slot")["change"].apply(list)
    assert [[None if pd.isna(c) else c for c in found] for found in changes] == [
        [None],
        ["persistent", "new"],
        ["persistent", "persistent"],
        ["persistent"],
    ]


def test_zeros_are_written_for_every_taxon_that_can_be_reported_and_for_no_other(season: Any) -> None:
    season.publish(season.analysis(taxa=["Poduromorpha", "Acari", "Hyphae", "Beetle bank"]))
    season.scan(
        START,
        [("Poduromorpha", (0, 0, 9, 9))],
        analysis_id=season.analysis(taxa=["Poduromorpha", "Acari", "Hyphae", "Beetle bank"]),
    )
    build(season, START)
    frame = table(season, "counts").set_index("taxon")
    assert "Poduromorpha" in frame.index and "Invertebrata" in frame.index
    assert not {"Hyphae", "hyphae", "Enchytraeidae", "Mesostigmata"} & set(frame.index)
    assert frame.loc["Collembola", ["n", "n_total"]].tolist() == [0, 1]
    assert frame.loc["Poduromorpha", ["n", "n_total"]].tolist() == [1, 1]
    assert frame.loc["Invertebrata", ["n", "n_total"]].tolist() == [0, 1]
    assert frame.loc["Acari", ["n", "n_total"]].tolist() == [0, 0]
    assert frame.loc["Beetle bank", ["n", "rank"]].tolist() == [0, "unranked"]


def test_background_is_never_counted(season: Any) -> None:
    analysis = season.analysis(taxa=["Acari", "root"])
    season.publish(analysis)
    season.scan(START, [MITE, ("root", (0, 0, 900, 20))], analysis_id=analysis)
    build(season, START)
    assert counts(season, "Invertebrata") == [1]
    assert len(table(season, "detections")) == 2


def test_density_is_of_the_usable_window(season: Any, make_scanner: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE, SPRINGTAIL], usable=0.5)
    build(season, START)
    frame = table(season, "counts").set_index("taxon")
    assert frame.loc["Invertebrata", "n_per_m2_window"] == pytest.approx(2 / (0.062 * 0.5))
    season.refresh(make_scanner(window_cm2=None))
    build(season, START)
    assert table(season, "counts")["n_per_m2_window"].isna().all()


def test_without_an_audit_nothing_is_expected(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    build(season, START)
    frame = table(season, "counts")
    assert frame[["expected_n", "n_low", "n_high"]].isna().all(axis=None)
    assert set(frame["validation"]) == {"simulated"}


def test_slots_before_anything_is_published_have_no_counts_at_all(season: Any) -> None:
    season.scan(START, None)
    build(season, START)
    assert len(table(season, "counts")) == 0
    assert len(table(season, "slots")) == 1


def test_promoting_a_model_changes_counts_from_the_next_scan_on(season: Any) -> None:
    first, second = season.analysis("first"), season.analysis("second", taxa=["Acari", "Nematoda"])
    season.publish(first)
    season.scan(START, [MITE], analysis_id=first)
    season.scan(START + 6 * HOUR, [MITE], analysis_id=first)
    build(season, START + 6 * HOUR)
    before = table(season, "counts")
    season.publish(second, START + 12 * HOUR)
    season.scan(START + 12 * HOUR, [MITE], analysis_id=second)
    build(season, START + 12 * HOUR)
    after = table(season, "counts")
    old = after[after["analysis_id"] == first].drop(columns="complete_through").reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before.drop(columns="complete_through"))
    assert "Nematoda" in set(after[after["slot"] == START + 12 * HOUR]["taxon"])
    assert counts(season, "Acari", "n_new") == [None, 0, None]  # the slot before was judged by another analysis


def test_another_dpi_makes_new_unknowable(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    season.scan(START + 6 * HOUR, [MITE], dpi=600.0)
    build(season, START + 6 * HOUR)
    assert counts(season, "Acari", "n_new") == [None, None]


def test_an_open_conflict_empties_the_slot(season: Any) -> None:
    season.publish(season.analysis())
    scan = season.scan(START, [MITE])
    season.refuse(START, code="conflict", conflicts_with=scan)
    build(season, START)
    assert table(season, "slots")["state"].tolist() == ["quarantined"]
    assert counts(season, "Acari") == [None]
    assert len(table(season, "detections")) == 0


def test_the_year_is_that_of_the_slot_in_utc_and_what_stays_stays_over_new_year(season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(timezone="Europe/Paris"))
    season.publish(season.analysis())
    first = datetime(2023, 12, 29, 23, tzinfo=UTC)  # midnight in Paris
    for k in range(16):
        season.scan(first + k * 6 * HOUR, [MITE])
    summary = build(season, first + 15 * 6 * HOUR)
    assert summary.slots["observed"] == 16
    old, new = table(season, "detections", 2023), table(season, "detections", 2024)
    assert len(old) == 9 and len(new) == 7
    assert new["slot"].iloc[0] == datetime(2024, 1, 1, 5, tzinfo=UTC)
    assert old["slot"].iloc[-1] == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert table(season, "counts", 2023)["date_local"].iloc[-1] == datetime(2024, 1, 1).date()
    assert new["change"].tolist() == ["persistent"] * 2 + ["stationary"] * 5
    assert counts(season, "Acari", "n_new", 2024) == [0] * 7
    assert counts(season, "Acari", "n_stationary", 2024) == [0, 0, 1, 1, 1, 1, 1]


def test_complete_through_waits_for_what_is_pending(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    season.scan(START + 12 * HOUR, [MITE])
    assert build(season, START + 12 * HOUR).complete_through == START
    assert set(table(season, "counts")["complete_through"]) == {pd.Timestamp(START)}
    assert build(season, START + 30 * HOUR).complete_through == START + 12 * HOUR


def test_a_slot_is_published_for_by_the_time_of_its_scan(season: Any) -> None:
    """A scan two minutes late is the first of a new analysis; its slot, earlier than the scan, goes with it."""
    first, second = season.analysis("first"), season.analysis("second")
    season.publish(first)
    season.scan(START, [MITE], analysis_id=first)
    at = START + 6 * HOUR + timedelta(minutes=2)
    season.publish(second, at)
    season.scan(at, [MITE], analysis_id=second)
    build(season, at)
    frame = table(season, "counts")
    assert set(frame[frame["slot"] == START + 6 * HOUR]["analysis_id"]) == {second}
    assert counts(season, "Acari") == [1, 1]


def test_irregular_scanners_have_as_many_slots_as_scans(season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(slots="irregular", dpi=None, window_cm2=None))
    season.publish(season.analysis())
    season.scan(START, [MITE], dpi=None)
    season.scan(START + timedelta(minutes=41), [MITE], dpi=None)
    build(season, START + 9000 * HOUR)
    assert table(season, "slots")["state"].tolist() == ["observed", "observed"]
    assert counts(season, "Acari", "n_new") == [None, 0]


def test_files_have_their_schema_and_carry_units(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    build(season, START)
    for name, schema in (("slots", SLOTS), ("counts", COUNTS), ("detections", DETECTIONS)):
        data = season.store.read_bytes(layout.series_file(name, "A20", 2024))
        read = from_parquet(data)
        assert read.schema.equals(schema, check_metadata=False)
        assert [f.metadata for f in read.schema] == [f.metadata for f in schema]
        told = metadata_of(data)
        assert told["schema_version"] == "1" and "pandas" not in told
        assert ("as_of" in told) == (name != "detections")
    assert isinstance(read, pa.Table)


def test_the_project_tables_say_what_the_project_file_says(season: Any, make_scanner: Any) -> None:
    season.refresh(
        make_scanner(slots=timedelta(minutes=20)), make_scanner("B1", slots=(time(7, 30),), timezone="Asia/Tokyo")
    )
    build(season, START)
    scanners = from_parquet(season.store.read_bytes("series/scanners.parquet")).to_pandas()
    assert scanners["slots"].tolist() == ["every 20min", "07:30"]
    taxa = from_parquet(season.store.read_bytes("series/taxa.parquet")).to_pandas()
    assert taxa.set_index("taxon").loc["Collembola", "parent"]
    assert len(season.store.list("records/config")) == 1


def test_every_state_is_told_in_the_summary(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    summary = build(season, START + 25 * HOUR)
    assert tuple(summary.slots) == STATES
    assert summary.slots == {"observed": 1, "late": 0, "pending": 4, "missing": 0, "quarantined": 0}
    assert published_analysis([], START) is None


def test_a_pending_slot_of_december_holds_up_january(season: Any) -> None:
    season.publish(season.analysis())
    last = datetime(2024, 12, 31, 12, tzinfo=UTC)
    for hours in (0, 12, 18):  # the slot of 18:00 is still to come
        season.scan(last + hours * HOUR, [])
    assert build(season, last + 20 * HOUR).complete_through == last
    for year in (2024, 2025):
        assert set(table(season, "counts", year)["complete_through"]) == {pd.Timestamp(last)}
