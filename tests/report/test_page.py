"""What the pages promise: words for every doubt, nothing from outside, and no byte changed without a reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from soilpipe import layout, schemas
from soilpipe.ingest.quarantine import Quarantined, quarantine
from soilpipe.parquet import from_parquet, to_parquet
from soilpipe.report.newest import newest_counts
from soilpipe.report.page import page_name, write_report
from soilpipe.report.tables import ReportError
from soilpipe.report.words import banner
from tests.report.conftest import Season

MakeSeason = Callable[..., Season]
STATES = ("observed", "late", "missing", "observed", "quarantined", "observed", "pending")


class Links(HTMLParser):
    """Every address that a page points at."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src", "srcset", "action") and value]


def refuse(season: Season, scanner_id: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(b"broken")
    when = datetime(2024, 3, 6, 23, tzinfo=UTC)
    refusal = Quarantined(
        scanner_id=scanner_id,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        source_name="A_2024-03-07_00H00M.jpg",
        source_size=6,
        source_modified=0.0,
        code="truncated",
        reason="the file breaks off <at row 12>",
        remedy="copy it again",
        captured_at=when,
        device_time=None,
        first_seen=when,
        code_version="0",
    )
    quarantine(season.store, file, refusal)


def test_a_second_run_changes_no_byte(season: MakeSeason) -> None:
    made = season("A", "B")
    for scanner in ("A", "B"):
        made.publish(scanner, STATES)
    first = write_report(made.project, made.store)
    assert {layout.report(name) for name in ("index.html", "A.html", "B.html", "A/counts.png")} <= set(first)
    before = {entry.key: (entry.modified, made.store.read_bytes(entry.key)) for entry in made.store.list("")}
    assert write_report(made.project, made.store) == []
    assert {entry.key: (entry.modified, made.store.read_bytes(entry.key)) for entry in made.store.list("")} == before


@pytest.mark.slow
def test_pages_made_anew_from_equal_tables_are_equal_to_the_byte(season: MakeSeason) -> None:
    made = season("A")
    scans = made.publish("A", STATES)
    made.write_pixels(str(scans[5]))
    pages = [entry.key for entry in made.store.list("reports")]
    write_report(made.project, made.store)
    before = {entry.key: made.store.read_bytes(entry.key) for entry in made.store.list("reports")}
    assert pages == [] and len(before) == 4
    for key in before:
        made.store.delete(key)
    write_report(made.project, made.store)
    assert {entry.key: made.store.read_bytes(entry.key) for entry in made.store.list("reports")} == before


def test_pages_point_only_at_files_that_are_there(season: MakeSeason) -> None:
    made = season("A", "index")
    for scanner in ("A", "index"):
        made.write_pixels(str(made.publish(scanner, STATES)[5]))
    write_report(made.project, made.store)
    for entry in made.store.list("reports", suffix=".html"):
        text = made.store.read_bytes(entry.key).decode()
        links = Links()
        links.feed(text)
        assert links.found
        for address in links.found:
            assert made.store.exists(layout.report(address)), f"{entry.key} points at {address}"
        assert "://" not in text and "<script" not in text and "url(" not in text


def test_a_scanner_called_index_does_not_take_the_index_page(season: MakeSeason) -> None:
    assert page_name("Index") == "Index.page.html"
    made = season("index")
    made.publish("index", STATES)
    write_report(made.project, made.store)
    assert "buried scanner" in made.report("index.html")
    assert "Counts through time" in made.report("index.page.html")


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ("none", "Nobody has checked these counts."),
        ("simulated", "checked on simulated scans only"),
        ("local", "checked on scans of this project"),
    ],
)
def test_every_page_says_what_stands_behind_the_counts(season: MakeSeason, validation: str, words: str) -> None:
    made = season("A")
    made.publish("A", STATES, validation=validation)
    write_report(made.project, made.store)
    assert words in made.report("index.html")
    assert words in made.report("A.html")


def test_of_several_validations_the_weakest_speaks() -> None:
    mixed = banner({"local", "simulated"})
    assert mixed.headline.startswith("Some of these counts were checked on simulated scans only")
    assert mixed.level == banner({"simulated"}).level
    assert banner(()).headline == "No counts yet."


def test_a_gap_is_shown_as_a_dash_and_never_as_a_zero(season: MakeSeason) -> None:
    made = season("A")
    made.publish("A", ("observed", "missing", "quarantined", "pending"))
    write_report(made.project, made.store)
    rows = re.findall(r"<tr><td class=\"nowrap\">\d.*?</tr>", made.report("A.html"))
    numbers = {
        re.findall(r'class="(\w+)"><span class="sign"', row)[0]: re.findall(r'"n">([^<]*)<', row)[0] for row in rows
    }
    assert numbers == {"pending": "–", "quarantined": "–", "missing": "–", "observed": "9"}


def test_scans_that_were_compared_with_nothing_are_told_on_the_page(season: MakeSeason) -> None:
    made = season("A", "B")
    made.publish("A", STATES, uncompared=(0, 1, 2))  # of which the third has no scan, and no count
    made.publish("B", STATES)
    write_report(made.project, made.store)
    assert "2 of the counted scans were compared with nothing" in made.report("A.html")
    assert "of the counted scans" not in made.report("B.html")


def test_a_taxon_looked_for_and_never_found_is_named(season: MakeSeason) -> None:
    made = season("A")
    made.publish("A", STATES)
    write_report(made.project, made.store)
    assert "never found: Araneae" in made.report("A.html")


def test_a_refused_file_is_told_with_its_reason_and_remedy(season: MakeSeason, tmp_path: Path) -> None:
    made = season("A")
    made.publish("A", STATES)
    write_report(made.project, made.store)
    assert "Refused files" not in made.report("A.html")
    refuse(made, "A", tmp_path)
    changed = write_report(made.project, made.store)
    assert set(changed) == {layout.report("A.html"), layout.report("index.html")}
    page = made.report("A.html")
    assert "the file breaks off &lt;at row 12&gt;" in page
    assert "copy it again" in page
    assert "1 file refused" in made.report("index.html")


def test_a_scanner_without_a_scan_in_its_last_four_slots_is_told(season: MakeSeason) -> None:
    made = season("A", "B")
    made.publish("A", ("observed", *["missing"] * 4, "pending"))
    made.publish("B", ("observed", *["missing"] * 3, "pending"))
    write_report(made.project, made.store)
    needs = made.report("index.html").split("Needs a person")[1].split("</div>")[0]
    assert "A.html" in needs and "B.html" not in needs


def test_years_without_a_scan_after_the_last_one_do_not_hide_what_was_counted(season: MakeSeason) -> None:
    made = season("A")
    made.publish("A", ["missing"] * 8)
    for table in ("slots", "counts"):  # what has been missing for two years
        frame = from_parquet(made.store.read_bytes(layout.series_file(table, "A", 2024))).to_pandas()
        for year in (2025, 2026):
            later = frame.assign(slot=frame["slot"] + pd.DateOffset(years=year - 2024))
            rows = pa.Table.from_pandas(later, schema=schemas.SERIES[table], preserve_index=False)
            made.store.write_bytes(layout.series_file(table, "A", year), to_parquet(rows))
    made.publish("A", STATES, validation="local")
    write_report(made.project, made.store)
    index = made.report("index.html")
    assert '<td class="n">9</td>' in index  # six springtails and three mites
    assert "Nothing stands behind" not in index and "set <code>until</code>" in index
    newest = newest_counts(made.project, made.store, "A")
    assert newest is not None and newest.animals == 9


def test_only_the_scanners_named_are_drawn_but_all_stand_in_the_index(season: MakeSeason) -> None:
    made = season("A", "B")
    for scanner in ("A", "B"):
        made.publish(scanner, STATES)
    written = write_report(made.project, made.store, scanners=["A"])
    assert layout.report("A.html") in written
    assert layout.report("B.html") not in written
    assert "B.html" in made.report("index.html")


def test_a_project_without_any_scan_has_pages_too(season: MakeSeason) -> None:
    made = season("A")
    write_report(made.project, made.store)
    assert "No counts yet." in made.report("index.html")
    assert "Nothing was found so far." in made.report("A.html")


def test_expired_pixels_leave_a_page_without_that_picture(season: MakeSeason) -> None:
    made = season("A")
    scans = made.publish("A", STATES)
    made.write_pixels(str(scans[3]))  # the newest scan's pixels are gone, the one's before are there
    write_report(made.project, made.store)
    pictures = [entry.key for entry in made.store.list("reports", suffix=".png")]
    assert [key for key in pictures if "overlay" in key] == [layout.report("A/overlay-2.png")]


def test_local_times_are_shown(season: MakeSeason) -> None:
    made = season("A")
    made.publish("A", STATES)
    write_report(made.project, made.store)
    assert "7 Mar 2024, 06:00" in made.report("A.html")


def test_a_damaged_series_file_is_told_with_what_to_do(season: MakeSeason) -> None:
    made = season("A")
    made.publish("A", STATES)
    key = made.store.list("series/counts")[0].key
    made.store.write_bytes(key, made.store.read_bytes(key)[:-9])
    with pytest.raises(ReportError, match="soilpipe rebuild"):
        write_report(made.project, made.store)
