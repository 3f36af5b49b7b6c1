"""The command line: quick help, clear errors, exit codes that scripts can rely on, JSON wherever there is a table."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app, main
from deployments.commands.options import OptionError
from deployments.commands.written import write_whole
from deployments.demo import MARKER, DemoError, prepare
from soilpipe.config import load_project
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Store
from tests.flow_fixtures import TinyProject, make_project, picture

cli = CliRunner()
COMMANDS = {
    "init", "run", "serve", "status", "counts", "quarantine", "verify", "rebuild", "train", "evaluate", "detect",
    "models", "simulate", "demo", "refresh", "redetect",
}  # fmt: skip


def test_help_comes_without_loading_what_is_heavy() -> None:
    code = "import deployments.cli, sys; print({'torch', 'prefect', 'pandas', 'zarr', 'cv2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"


def test_every_command_of_the_table_is_there() -> None:
    shown = cli.invoke(app, ["--help"]).output

    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_init_writes_a_project_file_that_loads_and_overwrites_none(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"

    assert cli.invoke(app, ["init", "--project", str(file)]).exit_code == 0
    assert load_project(file).scanners
    assert cli.invoke(app, ["init", "--project", str(file)]).exit_code != 0


def test_a_mistake_is_one_sentence_on_standard_error_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["soilpipe", "status", "--project", "nowhere.yaml"])

    with pytest.raises(SystemExit) as end:
        main()

    told = capsys.readouterr().err
    assert end.value.code == 2
    assert "nowhere.yaml" in told
    assert "soilpipe init" in told
    assert "Traceback" not in told


def test_status_ends_with_1_only_when_something_needs_a_person(tmp_path: Path) -> None:
    project = make_project(tmp_path, "A", "B")
    options = ["--project", str(project.file), "--json"]

    fine = cli.invoke(app, ["status", *options])
    project.inbox("B").rmdir()
    missing = cli.invoke(app, ["status", *options])

    assert [row["needs_person"] for row in json.loads(fine.stdout)] == [[], []]
    assert fine.exit_code == 0
    assert missing.exit_code == 1
    assert "does not exist" in json.loads(missing.stdout)[1]["needs_person"][0]


def test_status_tells_of_files_that_have_only_just_come(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.put("A_2026-01-01_00H00M.jpg", picture(0))
    project.file.write_text(project.file.read_text().replace("settle: 0s", "") + "\nsettle: 1h\n")

    words = cli.invoke(app, ["status", "--project", str(project.file)])

    assert words.exit_code == 0
    assert "A: 1 file in its inbox came only just now" in words.stdout


def test_status_shows_a_clock_that_was_reset_and_the_line_that_mends_it(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.put("A_2000-01-01_00H00M.jpg", picture(0))
    loaded = load_project(project.file)
    store, (scanner,), now = Store(loaded.store), loaded.scanners, datetime.now(UTC)
    (arrival,) = find_arrivals(loaded, scanner, store, now).ready
    assert ingest_file(loaded, scanner, store, arrival, now).kind == "accepted"

    words = cli.invoke(app, ["status", "--project", str(project.file)])
    (row,) = json.loads(cli.invoke(app, ["status", "--project", str(project.file), "--json"]).stdout)

    assert words.exit_code == 1
    assert row["clock"][0]["kind"] == "reset" and row["clock"][0]["sentence"] in row["needs_person"]
    line = row["clock"][0]["entry"]
    assert line in words.stdout and "from: 2000-01-01 00:00" in line
    with project.file.open("a") as file:
        file.write(f"\nclock:\n  {line}\n")
    (row,) = json.loads(cli.invoke(app, ["status", "--project", str(project.file), "--json"]).stdout)
    assert row["clock"] == [] and row["last_scan"] == "2026-02-02T02:40:00+00:00"


def test_a_dry_run_says_what_would_be_done_and_makes_no_scan(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.put_scan(0)

    plan = json.loads(cli.invoke(app, ["run", "--dry-run", "--json", "--project", str(project.file)]).stdout)

    assert plan[0]["take_in"] == ["A_2026-03-06_00H00M.jpg"]
    assert plan[0]["doubts"] == []
    assert not list(project.store.rglob("*A-2026*"))


def taken_in(project: TinyProject) -> str:
    """Take in the first file of the inbox; its scan id."""
    loaded = load_project(project.file)
    store, (scanner,), now = Store(loaded.store), loaded.scanners, datetime.now(UTC)
    outcome = ingest_file(loaded, scanner, store, find_arrivals(loaded, scanner, store, now).ready[0], now)
    assert outcome.kind == "accepted" and outcome.scan_id is not None
    return outcome.scan_id


def test_a_dry_run_says_what_would_be_refused_and_why_and_what_it_does_not_look_at(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.put_scan(0)
    there = taken_in(project)
    for name in ("A_2026-03-06_00H00M00S.jpg", "A_2026-13-45_99H00M.jpg", "A_2026-03-06_06H00M.png", "notes.txt"):
        project.put(name, picture(1))
    for name in ("A_2026-03-06_06H00M.jpg", "A_2026-03-06_12H00M.jpg"):
        project.put(name, picture(2))
    project.put("A_2026-03-06_18H00M.jpg", b"")
    options = ["run", "--dry-run", "--project", str(project.file)]
    before = project.bytes_of_store()

    (plan,) = json.loads(cli.invoke(app, [*options, "--json"]).stdout)
    shown = cli.invoke(app, options)

    doubts = {doubt["name"]: doubt["why"] for doubt in plan["doubts"]}
    assert "A_2026-03-06_12H00M.jpg" in plan["take_in"] and "A_2026-03-06_12H00M.jpg" not in doubts
    assert there in doubts["A_2026-03-06_00H00M00S.jpg"] and "conflict" in doubts["A_2026-03-06_00H00M00S.jpg"]
    assert "unless the file itself holds its time" in doubts["A_2026-13-45_99H00M.jpg"]
    assert "another file" in doubts["A_2026-03-06_06H00M.png"] and "A_2026-03-06_06H00M.jpg" in doubts
    assert "empty" in doubts["A_2026-03-06_18H00M.jpg"]
    assert plan["strangers"] == ["notes.txt"] and plan["detect"] == [there]
    assert all(f"A: {name} {why}" in shown.stdout for name, why in doubts.items())
    assert "notes.txt" in shown.stdout and "No file was opened" in shown.stdout
    assert project.bytes_of_store() == before


def test_a_dry_run_goes_by_period_and_stage_as_the_run_does(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.put_scan(0)
    there = taken_in(project)
    for number in (1, 4):
        project.put_scan(number)

    def plan(*more: str) -> tuple[list[str], list[str]]:
        shown = cli.invoke(app, ["run", "--dry-run", "--json", "--project", str(project.file), *more])
        (row,) = json.loads(shown.stdout)
        return row["take_in"], row["detect"]

    second, fifth = "A_2026-03-06_06H00M.jpg", "A_2026-03-07_00H00M.jpg"
    assert plan() == ([second, fifth], [there])
    assert plan("--since", "2026-03-07") == ([fifth], [])
    assert plan("--until", "2026-03-06") == ([second], [there])
    assert plan("--only", "ingest") == ([second, fifth], [])
    assert plan("--only", "detect") == ([], [there])
    assert plan("--only", "series") == ([], [])


def test_status_tells_a_scanner_that_was_taken_out_of_the_project_file(tmp_path: Path) -> None:
    project = make_project(tmp_path, "A", "B")
    project.put_scan(0, "B")
    project.file.write_text(project.file.read_text().replace("id: A,", "id: C,"))
    loaded = load_project(project.file)
    store, now = Store(loaded.store), datetime.now(UTC)
    scanner = loaded.scanner("B")
    (arrival,) = find_arrivals(loaded, scanner, store, now).ready
    assert ingest_file(loaded, scanner, store, arrival, now).kind == "accepted"
    options = ["status", "--project", str(project.file)]
    assert "no longer in the project file" not in cli.invoke(app, options).stdout

    text = project.file.read_text()
    project.file.write_text("".join(line for line in text.splitlines(keepends=True) if "id: B," not in line))
    shown = cli.invoke(app, options)
    rows = json.loads(cli.invoke(app, [*options, "--json"]).stdout)

    assert "B: no longer in the project file; 1 scan is kept (2026-03-06 to 2026-03-06)" in shown.stdout
    assert shown.exit_code == 0
    assert [(row["scanner_id"], row["in_project_file"]) for row in rows] == [("C", True), ("B", False)]
    assert rows[1]["scans"] == 1


def test_a_taxon_that_does_not_exist_is_told_with_the_nearest_names_and_how_to_list_all(tmp_path: Path) -> None:
    project = make_project(tmp_path)

    def told(name: str) -> str:
        return str(cli.invoke(app, ["counts", "--taxon", name, "--project", str(project.file)]).exception)

    near = told("Colembola")
    assert near.startswith("no taxon is called 'Colembola'; the nearest are Collembola") and "Acari" not in near
    assert near.endswith(". `soilpipe counts --list-taxa` shows all") and len(near) < 160
    assert told("Xyzzy") == "no taxon is called 'Xyzzy'; no name is like it. `soilpipe counts --list-taxa` shows all"
    listed = cli.invoke(app, ["counts", "--list-taxa", "--project", str(project.file)]).stdout.splitlines()
    assert any(line.strip().startswith("Collembola (class, also ") for line in listed)
    assert any(line.startswith("  ") and "Symphypleona" in line for line in listed)
    shown = cli.invoke(app, ["counts", "--list-taxa", "--json", "--project", str(project.file)])
    assert "Enchytraeidae" in {row["taxon"] for row in json.loads(shown.stdout)}


@pytest.mark.parametrize("command", [["counts"], ["quarantine", "list"], ["verify"], ["rebuild"], ["run", "--dry-run"]])
def test_json_is_json_also_when_there_is_nothing_yet(tmp_path: Path, command: list[str]) -> None:
    project = make_project(tmp_path)

    shown = cli.invoke(app, [*command, "--json", "--project", str(project.file)])

    assert isinstance(json.loads(shown.stdout), list)


def test_parquet_needs_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path)

    assert cli.invoke(app, ["counts", "--format", "parquet", "--project", str(project.file)]).exit_code != 0


def test_an_output_is_written_whole_or_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "counts.csv"
    write_whole(file, b"old")

    def no_space(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OptionError, match=r"counts\.csv cannot be written \(No space left"):
        write_whole(file, b"new")

    assert file.read_bytes() == b"old"
    assert [path.name for path in file.parent.iterdir()] == ["counts.csv"]


@pytest.mark.parametrize(
    "command",
    [
        ["counts", "--format", "csv", "--output", "{file}/x.csv", "--project", "{project}"],
        ["init", "--project", "{file}/soilpipe.yaml"],
        ["simulate", "--scans", "1", "--size", "64", "--output", "{file}/x"],
    ],
)
def test_an_output_that_has_no_place_is_one_sentence(tmp_path: Path, command: list[str]) -> None:
    project = make_project(tmp_path)
    file = tmp_path / "a file"
    file.touch()

    shown = cli.invoke(app, [word.format(file=file, project=project.file) for word in command])

    assert isinstance(shown.exception, OptionError)
    assert "a file" in str(shown.exception)


def test_ctrl_c_says_that_nothing_is_lost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("soilpipe.config.load_project", interrupted)
    monkeypatch.setattr(sys, "argv", ["soilpipe", "status", "--project", __file__])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 130
    assert "the next run finishes" in capsys.readouterr().err


def test_simulate_takes_a_file_format_and_no_negative_density(tmp_path: Path) -> None:
    season = ["simulate", "--scans", "1", "--size", "64", "--output", str(tmp_path)]

    assert cli.invoke(app, [*season, "--format", "png"]).exit_code == 0
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert "--density" in cli.invoke(app, [*season, "--density", "-1"]).stderr


def test_simulate_writes_the_same_season_for_the_same_seed(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        options = ["--scans", "2", "--size", "200", "--seed", "7", "--output", str(tmp_path / folder)]
        assert cli.invoke(app, ["simulate", *options]).exit_code == 0

    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / folder / "loam_007").iterdir()}
        for folder in ("one", "two")
    )
    assert one == two


def test_the_demo_empties_no_folder_but_its_own(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    prepare(own)
    (own / "old").write_text("of an earlier demo")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")

    prepare(own)
    with pytest.raises(DemoError, match="not made by a demo"):
        prepare(foreign)

    assert sorted(path.name for path in own.iterdir()) == [MARKER]
    assert (foreign / "thesis.txt").exists()
