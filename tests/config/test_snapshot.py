"""The snapshot of a project is its file again, without secrets and places."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.config import ClockEntry, Project, Scanner, Site, load_project
from soilpipe.config.slot_plans import EarlierSlots
from soilpipe.taxonomy import SOIL, Taxon, Taxonomy

ids = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}z", fullmatch=True)
spans = st.timedeltas(timedelta(), timedelta(days=30))
times = st.times().map(lambda at: at.replace(microsecond=0))
slots = st.one_of(
    st.just("irregular"),
    st.timedeltas(timedelta(seconds=10), timedelta(days=30)),
    st.sets(times, min_size=1, max_size=6).map(sorted).map(tuple),
)
OWN = Taxonomy([Taxon("Invertebrata", "informal"), Taxon("Acari", "order", "Invertebrata", ("mite",))])
PATTERNS = ["soil_scan", "iso", r"(?P<year>\d+)(?P<month>.)(?P<day>.)(?P<hour>.)(?P<minute>.)"]


@st.composite
def plans(draw: st.DrawFn) -> tuple[EarlierSlots, ...]:
    ends = draw(st.sets(st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), max_size=3))
    return tuple(EarlierSlots(until=end, slots=draw(slots)) for end in sorted(ends))


@st.composite
def clocks(draw: st.DrawFn) -> tuple[ClockEntry, ...]:
    """Entries one after another, of every kind."""
    start, found = datetime(2000, 1, 1), []
    for _ in range(draw(st.integers(0, 3))):
        end = start + timedelta(seconds=draw(st.integers(1, 10**7)))
        moved = {
            "offset": {"offset": draw(st.timedeltas(timedelta(days=-9000), timedelta(days=9000)))},
            "set": {"set": draw(st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)))},
            "drift": {"drift": draw(st.timedeltas(timedelta(hours=-6), timedelta(hours=6)))},
        }[draw(st.sampled_from(["offset", "set", "drift"]))]
        arrived = draw(st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
        found.append(ClockEntry(from_=start, until=end, reason="x: y", arrived_from=arrived, **moved))
        start = end
    return tuple(found)


@st.composite
def projects(draw: st.DrawFn) -> Project:
    names = draw(st.lists(ids, min_size=1, max_size=3, unique_by=str.casefold))
    site = Site(id=draw(ids), latitude=draw(st.floats(-90, 90)), longitude=draw(st.floats(-180, 180)))
    start = draw(st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
    scanners = tuple(
        Scanner(
            id=name,
            site=site.id,
            inbox=f"/in/{name}",
            inbox_options={"secret": "hunter2"},
            filename=draw(st.sampled_from(PATTERNS)),
            dpi=draw(st.none() | st.floats(10, 30_000)),
            window_cm2=draw(st.none() | st.floats(0.01, 1000)),
            depth_cm=draw(st.none() | st.floats(0, 1000)),
            orientation=draw(st.sampled_from([0, 90, 180, 270])),
            colours=draw(st.sampled_from(["as_is", "srgb"])),
            timezone=draw(st.sampled_from(["Europe/Paris", "UTC"])),
            slots=draw(slots),
            earlier_slots=draw(plans()),
            late_after=draw(spans),
            missing_after=draw(spans),
            settle=draw(spans),
            done_marker=draw(st.sampled_from([None, ".done", "_ok"])),
            from_=start,
            until=start and start + timedelta(days=draw(st.integers(1, 1000))),
            clock=draw(clocks()),
        )
        for name in names
    )
    return Project(
        project=draw(ids),
        path=Path("/somewhere/soilpipe.yaml"),
        store="/elsewhere/store",
        storage_options={"secret": "hunter2"},
        timezone="Europe/Paris",
        max_pixels=draw(st.integers(1, 10**12)),
        max_memory=draw(st.integers(1, 10**15)),
        sites=(site,),
        scanners=scanners,
        taxonomy=draw(st.sampled_from([SOIL, OWN])),
        detector=draw(st.sampled_from(["champion", "change", "0123456789ab"])),
        keep_originals=draw(st.booleans()),
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(projects())
def test_a_snapshot_with_its_places_is_a_project_file_of_the_same_project(tmp_path_factory, project: Project) -> None:
    snapshot = project.snapshot()
    text = json.dumps(snapshot, sort_keys=True, allow_nan=False)
    assert "hunter2" not in text
    assert "/somewhere" not in text and "/elsewhere" not in text and "/in/" not in text

    again = json.loads(text)
    again["store"] = project.store
    for scanner in again["scanners"]:
        scanner["inbox"] = f"/in/{scanner['id']}"
        scanner["inbox_options"] = {"secret": "hunter2"}
    again["storage_options"] = {"secret": "hunter2"}
    file = tmp_path_factory.getbasetemp() / "again.yaml"
    file.write_text(yaml.safe_dump(again, allow_unicode=True), encoding="utf-8")
    loaded = load_project(file)
    assert loaded.snapshot() == snapshot
    assert loaded == project.model_copy(update={"path": file})


def test_where_things_lie_changes_no_snapshot(project_of) -> None:
    here = project_of()
    there = project_of(head=HEAD_ELSEWHERE)
    assert here.store != there.store
    assert here.snapshot() == there.snapshot()


HEAD_ELSEWHERE = """\
project: casca
store: s3://bucket/store
timezone: Europe/Paris
sites:
  - {id: truffiere, latitude: 43.61, longitude: 3.87}
"""
