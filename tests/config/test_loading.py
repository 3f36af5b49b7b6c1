"""A right project file becomes the Project that it says."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import soilpipe.config.loading as loading
from soilpipe.config import TEMPLATE, Scanner, Site, load_project
from soilpipe.config.models import Project
from soilpipe.config.places import PRESETS_NAME_THE_SCANNER, names_scanner
from soilpipe.ingest.names import PRESETS, parse_name
from soilpipe.taxonomy import ROOT, SOIL

DESIGN = r"""
project: casca
store: ./store                      # or s3://bucket/prefix; relative to this file
storage_options: {}                 # handed to s3fs for the store; scanners may have their own
timezone: Europe/Paris
slots: ["00:00", "06:00", "12:00", "18:00"]     # local times, or "every 20min", or "irregular"
late_after: 2h
missing_after: 24h
settle: 2min
max_pixels: 1.2e9
max_memory: 4GB
sites:
  - {id: truffiere, latitude: 43.61, longitude: 3.87}
scanners:
  - id: DIAMS_A20_O
    site: truffiere
    inbox: ./inbox/DIAMS_A20_O
    filename: soil_scan
    dpi: 1200
    window_cm2: 620
    depth_cm: 20
    from: 2024-03-06
taxa: soil
detector: champion
keep_originals: true
dask: tcp://cluster.example.org:8786
"""


def test_the_file_of_the_design_loads_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_text(DESIGN)
    project = load_project(file)
    assert project == Project(
        project="casca",
        path=file,
        store=str(tmp_path / "store"),
        storage_options={},
        timezone="Europe/Paris",
        max_pixels=1_200_000_000,
        max_memory=4_000_000_000,
        sites=(Site(id="truffiere", latitude=43.61, longitude=3.87),),
        scanners=(
            Scanner(
                id="DIAMS_A20_O",
                site="truffiere",
                inbox=str(tmp_path / "inbox/DIAMS_A20_O"),
                filename="soil_scan",
                dpi=1200,
                window_cm2=620,
                depth_cm=20,
                timezone="Europe/Paris",
                slots=(time(0), time(6), time(12), time(18)),
                late_after=timedelta(hours=2),
                missing_after=timedelta(hours=24),
                settle=timedelta(minutes=2),
                from_=datetime(2024, 3, 5, 23, tzinfo=UTC),
            ),
        ),
        taxonomy=SOIL,
        detector="champion",
        keep_originals=True,
        dask="tcp://cluster.example.org:8786",
    )
    assert project.scanner("DIAMS_A20_O").zone == ZoneInfo("Europe/Paris")


def test_the_template_loads_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_text(TEMPLATE, encoding="utf-8")
    project = load_project(file)
    assert [scanner.id for scanner in project.scanners] == ["scanner_A"]
    assert project.taxonomy == SOIL


def test_every_commented_line_of_the_template_is_right_too(tmp_path: Path) -> None:
    lines = TEMPLATE.splitlines()
    optional = ("# storage_options", "# orientation", "# colours", "# from", "# until")
    switched_on = []
    for line in lines:
        if line.lstrip().startswith(optional):
            line = line.replace("# ", "", 1)
        elif line.startswith("#  - {name"):
            line = line.replace("#", " ", 1)
        elif line.startswith("taxa: soil"):
            line = "taxa:"
        switched_on.append(line)
    file = tmp_path / "soilpipe.yaml"
    file.write_text("\n".join(switched_on), encoding="utf-8")
    project = load_project(file)
    assert project.taxonomy.names == (ROOT, "Collembola", "Poduromorpha")
    assert (project.scanners[0].orientation, project.scanners[0].colours) == (90, "srgb")
    assert project.scanners[0].until == datetime(2024, 11, 30, 23, tzinfo=UTC)
    assert project.storage_options == {"anon": False}


def test_the_models_and_the_keys_of_the_file_are_the_same() -> None:
    fields = {field.alias or name for name, field in Scanner.model_fields.items()}
    # `clock` is a list of its own, at the top; earlier slots stand in `slots`.
    assert fields - {"clock", "earlier_slots"} == set(loading.scanner_keys(Path()))
    assert set(Site.model_fields) == set(loading.SITE_KEYS)
    assert set(Project.model_fields) - {"path", "taxonomy", "timezone", "sites", "scanners", "refresh"} == set(
        loading.project_keys(Path())
    )


def test_a_scanner_key_at_the_top_is_the_default_and_the_block_wins(project_of) -> None:
    second = "  - {id: B, inbox: ./inbox/B, dpi: 600, timezone: America/Cayenne, slots: irregular, depth_cm: }\n"
    project = project_of("dpi: 1200\nsite: truffiere\ndepth_cm: 20\nslots: every 20min", behind=second)
    first, second = project.scanners
    assert (first.dpi, first.depth_cm, first.slots) == (1200, 20, timedelta(minutes=20))
    assert (second.dpi, second.depth_cm, second.slots) == (600, None, "irregular")
    assert (second.site, second.timezone) == ("truffiere", "America/Cayenne")


def test_a_scanner_without_further_keys_has_the_defaults_of_the_contract(project_of) -> None:
    scanner = project_of().scanners[0]
    assert scanner.filename == "soil_scan"
    assert scanner.slots == (time(0), time(6), time(12), time(18))
    assert (scanner.dpi, scanner.orientation, scanner.from_, scanner.until) == (None, 0, None, None)
    assert (scanner.settle, scanner.colours) == (timedelta(minutes=2), "as_is")


def test_paths_are_relative_to_the_file_wherever_it_is_loaded_from(project_of, tmp_path: Path, monkeypatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    project_of()
    project = load_project("../soilpipe.yaml")
    assert project.path == tmp_path / "soilpipe.yaml"
    assert project.store == str(tmp_path / "store")
    assert project.scanners[0].inbox == str(tmp_path / "inbox/A20")


def test_moments_are_local_to_the_scanner_and_until_includes_its_day(project_of) -> None:
    scanner = project_of(scanner="from: 2024-07-01 06:00\nuntil: 2024-07-31").scanners[0]
    assert scanner.from_ == datetime(2024, 7, 1, 4, tzinfo=UTC)
    assert scanner.until == datetime(2024, 7, 31, 22, tzinfo=UTC)
    scanner = project_of(scanner="from: 2024-07-01T06:00Z\nuntil: 2024-07-31 12:00\ntimezone: Asia/Tokyo").scanners[0]
    assert scanner.from_ == datetime(2024, 7, 1, 6, tzinfo=UTC)
    assert scanner.until == datetime(2024, 7, 31, 3, tzinfo=UTC)


def test_a_default_moment_is_local_to_each_scanner(project_of) -> None:
    second = "  - {id: B, site: truffiere, inbox: ./inbox/B, timezone: UTC}\n"
    first, second = project_of("from: 2024-01-01", behind=second).scanners
    assert first.from_ == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert second.from_ == datetime(2024, 1, 1, tzinfo=UTC)


def test_yamls_own_readings_do_not_bite(project_of) -> None:
    head = "project: NO_1\nstore: ./12:30\nsites: [{id: e1}]\n"
    scanners = "scanners: [{id: 0a5bb6f4, site: e1, inbox: ./01, slots: [12:00, 6:00]}]\n"
    project = project_of("timezone: Europe/Oslo\nmax_pixels: 1.2e9", head=head, scanners=scanners)
    assert project.project == "NO_1"
    assert Path(project.store).name == "12:30"
    assert project.scanners[0].slots == (time(6), time(12))
    assert project.max_pixels == 1_200_000_000


def test_scanners_share_an_inbox_when_names_say_whose_the_file_is(project_of) -> None:
    second = "  - {id: 5c173ff2, site: truffiere, inbox: inbox/../inbox/A20}\n"
    for pattern in (
        "stickypi",
        "ci600",
        r"'(?P<scanner>\w+?)_(?P<year>\d{4})(?P<month>..)(?P<day>..)(?P<hour>..)(?P<minute>..)'",
    ):
        project = project_of(f"filename: {pattern}", behind=second)
        assert project.scanners[0].inbox == project.scanners[1].inbox


def test_inboxes_on_s3_take_the_stores_options_unless_they_have_their_own(project_of) -> None:
    top = "storage_options: {key: 0123, client_kwargs: {endpoint_url: 'http://localhost:9000'}, anon: false}"
    behind = (
        "  - {id: B, site: truffiere, inbox: 's3://scans/B/'}\n"
        "  - {id: C, site: truffiere, inbox: 's3://scans/C', storage_options: {anon: true}}\n"
        "  - {id: D, site: truffiere, inbox: 's3://scans/D', inbox_options: {anon: true, retries: 3}}\n"
    )
    project = project_of(top, behind=behind)
    options = {"key": "0123", "client_kwargs": {"endpoint_url": "http://localhost:9000"}, "anon": False}
    assert project.storage_options == options
    assert [s.inbox_options for s in project.scanners] == [{}, options, {"anon": True}, {"anon": True, "retries": 3}]
    assert project.scanners[1].inbox == "s3://scans/B"


def test_the_zone_of_the_project_is_that_of_its_scanners_when_only_they_say(project_of) -> None:
    head = "project: casca\nstore: s3://bucket/prefix/\nsites: [{id: truffiere}]\n"
    project = project_of(head=head, scanner="timezone: Asia/Tokyo")
    assert project.timezone == "Asia/Tokyo"
    assert project.store == "s3://bucket/prefix"


def test_own_taxa_hang_below_the_root_of_all_animals(project_of) -> None:
    top = """taxa:
  - {name: Collembola, rank: class, synonyms: [springtail, animal]}
  - {name: Poduromorpha, rank: order, parent: Collembola}
  - {name: stone, rank: informal, background: true}"""
    taxonomy = project_of(top).taxonomy
    assert taxonomy.names == (ROOT, "Collembola", "Poduromorpha", "stone")
    assert taxonomy.ancestors("Poduromorpha") == ("Collembola", ROOT)
    assert taxonomy.ancestors("stone") == ()
    assert taxonomy.find("animal").name == "Collembola"  # the project's word goes before the built-in one


def test_a_taxonomy_with_its_own_root_is_taken_as_it_is(project_of) -> None:
    top = f"taxa: [{{name: {ROOT}, rank: informal}}, {{name: Acari, rank: order, parent: {ROOT}}}]"
    assert [dataclasses.astuple(taxon) for taxon in project_of(top).taxonomy] == [
        (ROOT, "informal", None, (), False),
        ("Acari", "order", ROOT, (), False),
    ]


@pytest.mark.parametrize("detector", ["champion", "change", "0123456789ab", "my-mites_2", "shipped"])
def test_detectors_are_taken_by_role_version_or_name(project_of, detector: str) -> None:
    assert project_of(f"detector: {detector}").detector == detector


@pytest.mark.parametrize("pattern", [r"'IMG_.*'", r"'(?P<scanner>\w+)_(?:a|b)\d+'"])
def test_a_pattern_without_a_time_leaves_it_to_the_file(project_of, pattern: str) -> None:
    assert project_of(f"filename: {pattern}").scanners[0].filename == pattern.strip("'")


def test_a_home_folder_is_spelled_out(project_of) -> None:
    assert project_of(
        scanner="dpi: 600\nfilename: iso", scanners=("scanners:\n  - id: A\n    site: truffiere\n    inbox: ~/scans\n")
    ).scanners[0].inbox == str(Path("~/scans").expanduser())


def test_presets_are_those_that_ingest_reads() -> None:
    assert set(PRESETS) == set(PRESETS_NAME_THE_SCANNER)


def test_the_file_names_in_the_template_follow_the_presets_beside_them() -> None:
    shown = re.findall(r"^#   (\w+) +(\S+\.\w+)(?:   or   (\S+))?", TEMPLATE, re.MULTILINE)
    assert {preset for preset, _, _ in shown} == set(PRESETS)
    for preset, *examples in shown:
        for example in filter(None, examples):
            named = parse_name(example, preset)
            assert named.time is not None
            assert (named.scanner is not None) == names_scanner(preset)
