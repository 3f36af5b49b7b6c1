"""The series are a function of the project file of now: an entry that was there once leaves no trace."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe.config import ClockEntry
from soilpipe.counts.verify import rebuild, verify

START = datetime(2023, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = START + 400 * HOUR

HOURS = st.lists(st.integers(0, 96), min_size=1, max_size=8, unique=True)
ENTRY = st.tuples(
    st.integers(-10, 90),
    st.integers(1, 60),
    st.one_of(
        st.integers(-200, 200).map(lambda hours: {"offset": hours * HOUR}),
        st.integers(-9000, 300).map(lambda hours: {"set": START.replace(tzinfo=None) + hours * HOUR}),
        st.integers(-3600, 3600).map(lambda seconds: {"drift": timedelta(seconds=seconds)}),
    ),
).map(
    lambda of: ClockEntry(
        from_=START.replace(tzinfo=None) + of[0] * HOUR,
        until=START.replace(tzinfo=None) + (of[0] + of[1]) * HOUR,
        reason="x",
        **of[2],
    )
)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def tables(season: Any) -> dict[str, bytes]:
    return {key: data for key, data in season.files().items() if key.startswith("series/")}


def truth(season: Any) -> dict[str, bytes]:
    return {key: data for key, data in season.files().items() if not key.startswith(("series/", "records/config"))}


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=HOURS, entry=ENTRY, refused=st.integers(0, 96), zone=st.sampled_from(["UTC", "Europe/Paris"]))
def test_adding_and_removing_an_entry_gives_the_first_bytes_again(
    season: Any, make_scanner: Any, hours: list[int], entry: ClockEntry, refused: int, zone: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = type(season)(Path(folder))
        one.publish(one.analysis())
        for hour in hours:
            one.scan(START + hour * HOUR, [("Acari", (100, 100, 130, 130))])
        one.refuse(START + refused * HOUR)
        rebuild(one.project, one.store, NOW)
        first, from_the_start = tables(one), truth(one)

        one.refresh(make_scanner(clock=(entry,), timezone=zone))
        rebuild(one.project, one.store, NOW)
        assert verify(one.project, one.store) == []
        assert truth(one) == from_the_start

        one.refresh(make_scanner())
        rebuild(one.project, one.store, NOW)
        assert (tables(one), truth(one)) == (first, from_the_start)
