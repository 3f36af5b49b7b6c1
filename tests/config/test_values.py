"""Laws of single values: what is accepted is safe, and what a parser returns it accepts again unchanged."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from soilpipe.config import Scanner, Site
from soilpipe.config.errors import key_path, nearest, shown
from soilpipe.config.places import parse_place
from soilpipe.config.values import in_zone, parse_duration, parse_id, parse_moment, parse_size, parse_slots

law = settings(deadline=None, derandomize=True)
id_like = st.text(alphabet=string.ascii_letters + string.digits + "_-.", min_size=1, max_size=12) | st.from_regex(
    r"[0-9]{1,4}[eExX_-]?[0-9a-fA-F]{0,4}", fullmatch=True
)


def _accepted(text: str) -> bool:
    try:
        return parse_id(text) == text
    except ValueError:
        return False


@law
@given(id_like)
@example("1e5").via("a float")
@example("0x1F").via("an integer")
@example("0x1__F").via("an integer for YAML only")
@example("2024-03-06").via("a date")
def test_an_accepted_id_stays_itself_in_paths_yaml_and_tables(text: str) -> None:
    if not _accepted(text):
        return
    path = PurePosixPath("receipts") / text / f"{text}-20240306T060000.json"
    assert path.parts == ("receipts", text, f"{text}-20240306T060000.json")
    assert ".." not in path.parts and not text.startswith((".", "_", "-"))
    assert yaml.safe_load(f"id: {text}") == {"id": text}
    read = pd.read_csv(StringIO(f"scanner_id,n\n{text},1\n"))
    assert read["scanner_id"].tolist() == [text]


@pytest.mark.parametrize(
    "text",
    ["DIAMS_A20_O", "scan106", "08038ade", "15e612cd", "5c173ff2", "PD_T088_L004", "A", "2a", "e5", "0xG", "x-1_"],
)
def test_the_ids_of_real_scanners_are_accepted(text: str) -> None:
    assert parse_id(text) == text


@pytest.mark.parametrize("value", [7, 1e5, True, None, ["a"]])
def test_an_id_that_is_no_text_is_told_to_be_quoted(value: object) -> None:
    with pytest.raises(ValueError, match=r"Quote it.*may not look like numbers"):
        parse_id(value)


@law
@given(st.timedeltas(timedelta(), timedelta(days=3660)))
def test_a_duration_is_accepted_again_unchanged(span: timedelta) -> None:
    assert parse_duration(span) == span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2h", timedelta(hours=2)),
        ("24h", timedelta(days=1)),
        ("2min", timedelta(minutes=2)),
        ("90s", timedelta(seconds=90)),
        ("3d", timedelta(days=3)),
        ("1.5 h", timedelta(minutes=90)),
        ("1h30min", timedelta(minutes=90)),
        ("2 Hours", timedelta(hours=2)),
        ("0s", timedelta()),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@law
@given(st.integers(0, 10**6), st.sampled_from([("s", 1), ("min", 60), ("h", 3600), ("d", 86400)]))
def test_a_duration_is_number_times_unit_or_out_of_bounds(number: int, unit: tuple[str, int]) -> None:
    if number * unit[1] <= 3660 * 86400:
        assert parse_duration(f"{number}{unit[0]}") == timedelta(seconds=number * unit[1])
    else:
        with pytest.raises(ValueError, match="out of bounds"):
            parse_duration(f"{number}{unit[0]}")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4 GiB", 4 * 2**30), ("1.1GB", 11 * 10**8), ("800mb", 8 * 10**8)],
)
def test_sizes_are_decimal_unless_they_say_binary(text: str, size: int) -> None:
    assert parse_size(text) == parse_size(size) == size


@law
@given(st.sets(st.times(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_slots_come_out_sorted_whatever_their_order(times, random) -> None:
    shuffled = sorted(times)
    random.shuffle(shuffled)
    assert parse_slots(shuffled) == tuple(sorted(times))
    assert parse_slots(parse_slots(shuffled)) == tuple(sorted(times))


def test_slots_are_times_an_interval_or_irregular() -> None:
    assert parse_slots("irregular") == "irregular"
    assert parse_slots("every 20min") == parse_slots(timedelta(minutes=20)) == timedelta(minutes=20)
    assert parse_slots("Every 1h 30min") == timedelta(minutes=90)
    assert parse_slots("08:00") == (time(8),)
    assert parse_slots(["18:00:30", "6:00"]) == (time(6), time(18, 0, 30))


@law
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["Europe/Paris", "Asia/Kolkata", "UTC"])
)
def test_a_moment_written_in_utc_is_itself_in_every_zone(moment: datetime, zone: str) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert in_zone(parse_moment(aware.isoformat()), ZoneInfo(zone)) == aware


@law
@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.sampled_from(["Europe/Paris", "America/Cayenne", "Asia/Tokyo"]))
def test_a_last_day_ends_where_the_next_begins(day: date, zone: str) -> None:
    end = in_zone(day, ZoneInfo(zone), end_of_day=True)
    assert end == in_zone(day + timedelta(days=1), ZoneInfo(zone))
    assert end.tzinfo is UTC


@law
@given(st.text(alphabet="ab/._ ~", min_size=1, max_size=10))
def test_a_place_is_accepted_again_unchanged(tmp_path_factory, text: str) -> None:
    try:
        place = parse_place(text, tmp_path_factory.getbasetemp())
    except ValueError:
        return
    assert place.startswith("/")
    assert parse_place(place) == place


def test_a_relative_place_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="relative to nothing"):
        parse_place("./inbox")


def test_models_made_in_code_are_held_to_the_same_rules() -> None:
    with pytest.raises(ValidationError, match="ids may not look like numbers"):
        Site(id="007")
    with pytest.raises(ValidationError, match="no time zone"):
        Scanner(id="A", site="s", inbox="/in", timezone="UTC", from_=datetime(2024, 1, 1))
    with pytest.raises(ValidationError):
        Scanner(id="A", site="s", inbox="/in", timezone="UTC", resolution=1200)
    scanner = Scanner(id="A", site="s", inbox="/in", timezone="Europe/Paris", until=datetime(2024, 1, 1, tzinfo=UTC))
    assert scanner.until == datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError):
        scanner.dpi = 600  # type: ignore[misc]


def test_key_paths_and_values_are_shown_as_people_read_them() -> None:
    assert key_path(("scanners", 1, "dpi")) == "scanners[1].dpi"
    assert key_path(()) == ""
    assert shown(r"\d+") == r"'\d+'"
    assert len(shown("x" * 500)) == 60
    assert shown("a\nb") == r"'a\nb'"
    assert nearest("DPI", ["dpi", "slots"]) == "dpi"
    assert nearest("zzz", ["dpi", "slots"]) is None
