"""A wrong project file is told with line, key, value and remedy: all of it at once, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.config import ConfigError

NEEDED = "(?P<year>.)(?P<month>.)(?P<day>.)(?P<hour>.)"

WRONG_VALUES = [
    # key and value, what stands in the error
    ("dpi: abc", ["scanners[0].dpi (DIAMS_A20_O): 'abc' is not a number", "such as 1200"]),
    ("dpi: -1", ["'-1' is out of bounds (10 to 30000)"]),
    ("dpi: .inf", ["'.inf' is not a number"]),
    ("dpi: [1200]", ["is not a number"]),
    ("window_cm2: 0", ["window_cm2", "out of bounds"]),
    ("depth_cm: -3", ["depth_cm", "out of bounds"]),
    ("orientation: 45", ["'45' is no quarter turn", "0, 90, 180 or 270"]),
    ("colours: adobe", ["'adobe' is no way to treat colours", "as_is (as in the file) or srgb"]),
    ("timezone: Paris", ["'Paris' is no time zone", "Europe/Paris"]),
    ("timezone: Europe/Pari", ["Europe/Paris"]),
    ("timezone: Europe", ["is no time zone"]),
    ("timezone: ../../etc/passwd", ["is no time zone"]),
    ("timezone: localtime", ["is no time zone"]),
    ("timezone: UTC+2", ["is no time zone"]),
    ('slots: ["06:00", "6:00"]', ["06:00 stands twice"]),
    ("slots: [24:00]", ["'24:00' is no time of day", "23:59"]),
    ("slots: [6]", ["'6' is no time of day"]),
    ("slots: []", ["no time in the list"]),
    ("slots: hourly", ["'hourly' is no time of day", "every 20min"]),
    ("slots: every 20", ["'20' is no duration"]),
    ("slots: every 1s", ["out of bounds"]),
    ("slots: {a: 1}", ["are no slots"]),
    ("late_after: 2", ["'2' is no duration", "2h"]),
    ("late_after: 2m", ["minutes or months", "2min"]),
    ("late_after: 2 fortnights", ["unknown unit 'fortnights'"]),
    ("missing_after: 99999999999999d", ["is too long", "3660d"]),
    ("missing_after: 9999d", ["out of bounds"]),
    ("settle: -2min", ["'-2min' is no duration"]),
    ("settle:", ["settle (DIAMS_A20_O): has no value"]),
    ("done_marker: done", ["'done' is no done-marker", "such as .done"]),
    ("done_marker: ../x", ["'../x' is no done-marker"]),
    ("done_marker: .TIF", ["'.TIF' is no done-marker", "meaning of their own"]),
    ("from: yesterday", ["'yesterday' is no date", "2024-03-06"]),
    ("from: 9999-12-31\nuntil: 9999-12-31", ["until", "beyond the calendar"]),
    ("from: 2024-03-06\nuntil: 2024-03-05", ["until", "is not after `from`"]),
    ("filename: soilscan", ["'soilscan' is no preset", "soil_scan"]),
    ("filename: '(?P<year>'", ["is no regular expression"]),
    (r"filename: '(\d+)-(\d+)_.*'", ["lacks the named groups year, month, day, hour, minute"]),
    ("filename: '(?P<scanner>.+)_(?P<year>....)'", ["lacks the named groups month, day, hour, minute"]),
    ("filename: '(?P<year>.)(?P<month>.)(?P<hour>.)'", ["lacks the named groups day, minute"]),
    (f"filename: '{NEEDED}'", ["lacks the named groups minute"]),
    (f"filename: '{NEEDED}(?P<minutes>..)'", ["lacks the named groups minute", "minutes, which mean nothing"]),
    ("site: trufiere", ["'trufiere' is not among the sites", "did you mean truffiere?"]),
    ("site: 12", ["'12' reads as a number"]),
    ("inbox: ftp://server/x", ["is no place"]),
    ("inbox: s3://", ["is no place"]),
    (r"inbox: C:\scans\A20", ["a path of Windows", "/mnt/c/scans/A20"]),
    ("inbox: ~nobody_of_this_name/scans", ["home folder"]),
    ("inbox: ./store/in", ["lies in the store"]),
    ("inbox: store", ["lies in the store"]),
    ("resolution: 1200", ["scanners[0].resolution", "is an unknown key"]),
    ("window: 620", ["did you mean window_cm2?"]),
    ("store: ./x", ["belongs to the whole project"]),
]


@pytest.mark.parametrize(("line", "expected"), WRONG_VALUES, ids=[line for line, _ in WRONG_VALUES])
def test_a_wrong_value_in_a_scanner_is_told_on_its_line(told_by, line: str, expected: list[str]) -> None:
    key = line.split(":")[0]
    scanner = "scanners:\n  - id: DIAMS_A20_O\n"
    for needed in ("site: truffiere", "inbox: ./inbox/A20"):
        if not needed.startswith(f"{key}:"):
            scanner += f"    {needed}\n"
    told = told_by(scanner=line, scanners=scanner)
    assert "soilpipe.yaml: line " in told
    for part in expected:
        assert part in told, told


WRONG_AT_THE_TOP = [
    ("max_pixels: many", ["max_pixels: 'many' is not a number", "1.2e9"]),
    ("max_pixels: 0", ["out of bounds"]),
    ("max_memory: 4", ["'4' is no size", "4GB"]),
    ("max_memory: 4XB", ["'4XB' is no size"]),
    ("max_memory: 0GB", ["out of bounds"]),
    ("keep_originals: maybe", ["neither true nor false"]),
    ("dask: 192.168.1.5", ["'192.168.1.5' is no address of a Dask scheduler", "tcp://host:8786"]),
    ("dask: http://host:8787", ["no address of a Dask scheduler"]),
    ("dask: true", ["no address of a Dask scheduler"]),
    ("detector: torchvision:fasterrcnn", ["there are fasterrcnn_resnet50_fpn_v2 and fcos_resnet50_fpn"]),
    ("detector: ../model", ["is no detector"]),
    ("detector: Change", ["Write change, in small letters"]),
    ("taxa: sol", ["'sol' is no list of taxa", "Write soil"]),
    ("taxa: []", ["is no list of taxa"]),
    ("taxa: [Collembola]", ["taxa[0]: 'Collembola' is no taxon"]),
    ("taxa: [{name: Collembola}]", ["taxa[0]: `rank` is missing"]),
    ("taxa: [{name: Collembola, rank: clas}]", ["'clas' is no rank: did you mean class?"]),
    ("taxa: [{name: Collembola, rank: class, parents: x}]", ["taxa[0].parents", "did you mean parent?"]),
    ("taxa: [{name: 7, rank: class}]", ["'7' is no name"]),
    ("taxa: [{name: A, rank: class, synonyms: b}]", ["is no list of names"]),
    ("taxa: [{name: A, rank: class, background: perhaps}]", ["taxa[0].background"]),
    ("taxa: [{name: A, rank: class, parent: B}]", ["'B' is not among the taxa"]),
    ("taxa: [{name: Acari, rank: class}, {name: B, rank: order, parent: Akari}]", ["did you mean Acari?"]),
    ("taxa: [{name: A, rank: class}, {name: a, rank: class}]", ["taxa: 'a' stands for both"]),
    ("taxa: [{name: A, rank: class, parent: B}, {name: B, rank: class, parent: A}]", ["its own ancestor"]),
    ("storage: ./x", ["storage: is an unknown key: did you mean store?"]),
    ("dpi: abc", ["line 6, dpi: 'abc' is not a number"]),
    ("id: A", ["line 6, id: is an unknown key"]),
]


@pytest.mark.parametrize(("line", "expected"), WRONG_AT_THE_TOP, ids=[line for line, _ in WRONG_AT_THE_TOP])
def test_a_wrong_value_at_the_top_is_told(told_by, line: str, expected: list[str]) -> None:
    told = told_by(line)
    for part in ["line 6, ", *expected]:
        assert part in told, told


def test_all_problems_are_told_at_once_in_the_order_of_the_file(told_by) -> None:
    told = told_by("late_after: 2m\nmax_pixel: 1", "dpi: abc\norientation: 45", "detector: a/b")
    lines = told.splitlines()
    assert lines[0].endswith("soilpipe.yaml: 5 problems")
    keys = [line.split(": ")[0].split(", ")[1].split(" ")[0] for line in lines[1:]]
    assert keys == ["late_after", "max_pixel", "scanners[0].dpi", "scanners[0].orientation", "detector"]


def test_a_wrong_default_is_told_once_not_for_each_scanner(told_by) -> None:
    second = "  - {id: B, site: truffiere, inbox: ./inbox/B}\n"
    assert told_by("dpi: abc", behind=second).count("abc") == 1
    head = "project: p\nstore: s\nsites: [{id: truffiere}]\n"
    assert told_by("timezone: Paris", head=head, behind=second).count("'Paris'") == 1


@pytest.mark.parametrize("written", ["007", '"007"', "1e5", "0x1F", "nan", "inf", "true", "2024-03-06", "1_000"])
def test_an_id_that_reads_as_something_else_is_refused(told_by, written: str) -> None:
    text = written.strip('"')
    told = told_by(scanners=f"scanners: [{{id: {written}, site: truffiere, inbox: in}}]\n")
    assert f"scanners[0].id ({text}): '{text}' reads as" in told
    assert f"such as 's{text}': ids may not look like numbers" in told


@pytest.mark.parametrize("written", ["null", "", "~", "[a]", "{a: b}"])
def test_an_id_that_is_no_text_is_refused(told_by, written: str) -> None:
    assert "line 8, scanners[0].id" in told_by(
        scanners=f"scanners:\n  - id: {written}\n    inbox: in\n    site: truffiere\n"
    )


@pytest.mark.parametrize("written", ["a.b", "../a", "a/b", "a b", "é", "_a", "-a", "'a\\b'", "a:b", "x" * 65])
def test_an_id_that_would_break_paths_or_hide_tables_is_refused(told_by, written: str) -> None:
    assert "scanners[0].id" in told_by(scanners=f"scanners: [{{id: {written}, site: truffiere, inbox: in}}]\n")


def test_ids_are_checked_for_projects_and_sites_too(told_by) -> None:
    told = told_by(head="project: 007\nstore: s\ntimezone: UTC\nsites: [{id: a/b}, {id: 1e5}, {id: truffiere}]\n")
    assert "line 1, project: '007' reads as a number" in told
    assert "sites[0].id (a/b)" in told
    assert "sites[1].id (1e5)" in told


def test_ids_that_differ_only_by_case_are_refused(told_by) -> None:
    second = "  - {id: diams_a20_o, site: truffiere, inbox: ./inbox/B}\n"
    told = told_by(behind=second)
    assert "scanners[1].id (diams_a20_o): 'diams_a20_o' differs from 'DIAMS_A20_O' only by case (line 8)" in told
    assert "'DIAMS_A20_O' is there already (line 8)" in told_by(behind=second.replace("diams_a20_o", "DIAMS_A20_O"))
    sites = "project: p\nstore: s\ntimezone: UTC\nsites: [{id: truffiere}, {id: Truffiere}]\n"
    assert "sites[1].id" in told_by(head=sites)


def test_a_site_that_was_refused_is_not_told_as_undeclared_as_well(told_by) -> None:
    head = "project: p\nstore: s\ntimezone: UTC\nsites: [{id: truffiere, latitude: 100, longitude: 0}]\n"
    told = told_by(head=head)
    assert "latitude" in told
    assert "not among the sites" not in told


def test_half_a_position_is_refused(told_by) -> None:
    head = "project: p\nstore: s\ntimezone: UTC\nsites: [{id: truffiere, latitude: 10}]\n"
    assert "sites[0].latitude (truffiere): stands without longitude" in told_by(head=head)


@pytest.mark.parametrize("scanners", ["", "scanners:\n", "scanners: []\n"])
def test_no_scanners_at_all_is_refused(told_by, scanners: str) -> None:
    assert "there are no scanners" in told_by(scanners=scanners)


@pytest.mark.parametrize("scanners", ["scanners: A20\n", "scanners: [A20]\n", "scanners: {id: A20}\n"])
def test_scanners_that_are_no_list_of_blocks_are_told_how_to_write_one(told_by, scanners: str) -> None:
    assert "- {id: A20, site: my_site, inbox: ./inbox/A20}" in told_by(scanners=scanners)


def test_missing_keys_are_told_with_an_example(told_by) -> None:
    told = told_by(head="", scanners="scanners:\n  - dpi: 1200\n")
    for key in ("project", "store", "id", "site", "inbox", "timezone"):
        assert f"`{key}` is missing" in told
    assert "there are no sites" in told


def test_a_shared_inbox_needs_names_that_tell_whose_the_file_is(told_by, tmp_path: Path) -> None:
    second = "  - {id: B, site: truffiere, inbox: inbox/../inbox/A20}\n"
    told = told_by("filename: iso", behind=second)
    assert "scanners[0].inbox (DIAMS_A20_O): is shared with B" in told
    assert "(?P<scanner>...)" in told
    own = f"filename: '{NEEDED}(?P<minute>.)'"
    assert "is shared with" in told_by(own, behind=second)
    (tmp_path / "inbox/A20").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "inbox/A20")
    assert "is shared with" in told_by("filename: iso", behind=second.replace("inbox/../inbox/A20", "link"))
    s3 = "  - {id: B, site: truffiere, inbox: s3://b/x}\n  - {id: C, site: truffiere, inbox: s3://b/x/}\n"
    assert "is shared with C" in told_by("filename: iso", behind=s3)


def test_the_same_bucket_name_on_two_servers_is_two_inboxes(project_of) -> None:
    one = "{id: B, site: truffiere, inbox: s3://b/x, inbox_options: {endpoint_url: 'http://one'}}"
    project_of("filename: iso", behind=f"  - {one}\n  - {one.replace('id: B', 'id: C').replace('one', 'two')}\n")


def test_keys_that_stand_twice_are_refused(told_by) -> None:
    assert "line 12, scanners[0].dpi: stands twice, first on line 11" in told_by(scanner="dpi: 600\ndpi: 1200")
    assert "store: stands twice" in told_by("store: ./other")


def test_options_under_both_names_are_refused(told_by) -> None:
    assert "Keep one of them" in told_by(scanner="storage_options: {}\ninbox_options: {}")


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "top",
    [
        f"storage_options: {SECRET}",
        f"storage_options: [{SECRET}]",
        f"storage_option: {{secret: {SECRET}}}",
        f"storage_options: {{secret: {SECRET}, secret: {SECRET}}}",
        f"secret: {SECRET}",
        f"storage_options: {{secret: *{SECRET}}}",
        f"storage_options: {{secret: {SECRET}",
        f"storage_options: {{secret: '{SECRET}}}",
        f"storage_options: {{secret: {SECRET}: x}}",
        f"inbox: s3://key:{SECRET}@bucket/x",
        f"inbox: https://key:{SECRET}@server/x",
        f"inbox_options: {SECRET}",
    ],
)
def test_no_error_tells_a_secret(told_by, top: str) -> None:
    assert SECRET not in told_by(f"{top}\ndpi: abc")


def test_neither_repr_nor_snapshot_tells_a_secret(project_of) -> None:
    project = project_of(f"storage_options: {{secret: {SECRET}}}", f"inbox_options: {{secret: {SECRET}}}")
    assert project.storage_options == project.scanners[0].inbox_options == {"secret": SECRET}
    assert SECRET not in repr(project) + str(project) + str(project.snapshot())


def test_an_unknown_scanner_is_told_with_the_nearest(project_of) -> None:
    project = project_of()
    with pytest.raises(ConfigError, match=r"'diams_a20' *: did you mean DIAMS_A20_O\?"):
        project.scanner("diams_a20")
