"""Series = f(truth, as_of): whatever the order in which things came, and however often and when it was built."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe.counts.series import build_series
from soilpipe.counts.verify import rebuild, verify

NEW_YEAR = datetime(2023, 12, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)
BOXES = ((100, 100, 130, 130), (101, 101, 131, 131), (400, 100, 500, 120))

SCAN = st.tuples(
    st.just("scan"),
    st.integers(0, 47),
    st.lists(st.tuples(st.sampled_from(["Acari", "Collembola"]), st.sampled_from(BOXES)), max_size=3),
)
LATER = st.tuples(st.just("detect later"), st.integers(0, 47), st.just([]))
REFUSAL = st.tuples(st.just("refuse"), st.integers(0, 47), st.just([]))
BUILD = st.tuples(st.just("build"), st.integers(0, 60), st.just([]))
EVENTS = st.lists(st.one_of(SCAN, SCAN, LATER, REFUSAL, BUILD), min_size=1, max_size=14)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def play(season: Any, events: list[tuple[str, int, list[Any]]], building: bool) -> None:
    season.publish(season.analysis())
    seen = set()
    for kind, hour, found in events:
        at = NEW_YEAR + hour * HOUR
        if kind == "build":
            if building:
                build_series(season.project, season.store, "A20", at)
        elif kind == "refuse":
            season.refuse(at)
        elif hour not in seen:
            seen.add(hour)
            season.scan(at, found if kind == "scan" else None)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_the_series_forget_how_they_came_about(season: Any, events: list[tuple[str, int, list[Any]]]) -> None:
    make = type(season)
    end = NEW_YEAR + 61 * HOUR
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        often, once = make(Path(one)), make(Path(other))
        play(often, events, building=True)
        play(once, events, building=False)
        build_series(often.project, often.store, "A20", end)
        build_series(once.project, once.store, "A20", end)
        assert often.files() == once.files()
        assert verify(often.project, often.store) == []
        before = often.files()
        rebuild(often.project, often.store, end)
        assert often.files() == before
