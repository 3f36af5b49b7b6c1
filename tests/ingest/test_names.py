from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from soilpipe.config.places import PRESETS_NAME_THE_SCANNER
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.names import PRESETS, NameError_, NameParts, parse_name


@pytest.mark.parametrize(
    ("name", "pattern", "scanner", "time"),
    [
        ("DIAMS_A20_O_2024-03-06_06H00M.jp2", "soil_scan", "DIAMS_A20_O", datetime(2024, 3, 6, 6)),
        ("scan106_2023-06-16_08H00M24S.tiff", "soil_scan", "scan106", datetime(2023, 6, 16, 8, 0, 24)),
        ("08038ade.2020-07-08_10-48-38.jpg", "stickypi", "08038ade", datetime(2020, 7, 8, 10, 48, 38)),
        (
            "PD_T088_L004_17.10.18_140056_014_SS_crop.tiff",
            "ci600",
            "PD_T088_L004",
            datetime(2018, 10, 17, 14, 0, 56),
        ),
        ("2024-03-06T06:00:00.tif", "iso", None, datetime(2024, 3, 6, 6)),
        ("plot-3_20240306T060005.png", "iso", None, datetime(2024, 3, 6, 6, 0, 5)),
    ],
)
def test_the_names_in_use_are_understood(name: str, pattern: str, scanner: str, time: datetime) -> None:
    assert parse_name(name, pattern) == NameParts(scanner, time)


def test_an_own_expression_may_cover_the_whole_name_or_all_but_its_extension() -> None:
    own = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)-(?P<hour>\d\d)(?P<minute>\d\d)"
    assert parse_name("20240306-0600.tif", own).time == datetime(2024, 3, 6, 6)
    assert parse_name("20240306-0600.tif", own + r"\.tif").time == datetime(2024, 3, 6, 6)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("A20_2024-13-06_06H00M.jp2", "does not exist"),
        ("A20_2024-02-30_06H00M.jp2", "does not exist"),
        ("A20_2024-03-06_24H00M.jp2", "does not exist"),
        ("A20_2024-03-06.jp2", "does not follow the pattern"),
        ("A20_2024-03-06_06H00M (1).jp2", "does not follow the pattern"),
    ],
)
def test_a_name_without_a_time_is_told_with_name_and_pattern(name: str, told: str) -> None:
    with pytest.raises(NameError_, match=told) as raised:
        parse_name(name, "soil_scan")
    assert name in str(raised.value)


OPTIONAL = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)-?(?P<hour>\d\d)?(?P<minute>\d\d)?"
LOOSE = r"(?P<year>\w+)-(?P<month>\w+)-(?P<day>\w+)-(?P<hour>\w+)-(?P<minute>\w+)"


@pytest.mark.parametrize(
    ("name", "pattern", "told"),
    [
        ("20240306.tif", OPTIONAL, "leaves out the hour, minute"),
        ("20240306-06.tif", OPTIONAL, "leaves out the minute"),
        ("spring-03-06-06-00.tif", LOOSE, "does not exist"),
        ("2024-march-06-06-00.tif", LOOSE, "does not exist"),
        ("99999999999999999999-03-06-06-00.tif", LOOSE, "does not exist"),
    ],
)
def test_an_expression_that_allows_what_is_no_time_stops_nobody(name: str, pattern: str, told: str, make_bench) -> None:
    with pytest.raises(NameError_, match=told):
        parse_name(name, pattern)
    bench = make_bench(filename=pattern, settle=timedelta(0))
    bench.deliver(name, b"no picture")
    bench.deliver("20240307-0600.tif" if pattern == OPTIONAL else "2024-03-07-06-00.tif", b"no picture")
    ready = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    assert [(one.name, one.device_time) for one in ready][1] == (name, None)
    assert ready[0].device_time == datetime(2024, 3, 7, 6)
    assert told in (ready[1].name_problem or "")
    assert [one.kind for one in bench.run()] == ["refused", "refused"]


def test_where_a_whole_time_is_optional_the_file_is_asked() -> None:
    whole = r"scan(?:-(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d))?"
    assert parse_name("scan-202403060600.tif", whole).time == datetime(2024, 3, 6, 6)
    assert parse_name("scan.tif", whole).time is None


def test_an_expression_that_is_half_a_time_is_told() -> None:
    with pytest.raises(NameError_, match="none called hour, minute"):
        parse_name("x", r"(?P<year>\d+)(?P<month>\d+)(?P<day>\d+)")
    with pytest.raises(NameError_, match="neither a preset nor"):
        parse_name("x", "(")


def test_the_project_file_and_the_names_know_the_same_presets() -> None:
    assert {preset: "(?P<scanner>" in text for preset, text in PRESETS.items()} == PRESETS_NAME_THE_SCANNER
