"""What is said of files in an inbox that no scanner takes from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.config import Project, Scanner, Site
from soilpipe.counts.strangers import stranger_in_words, strangers_that_need_a_person


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A20 and B07, each with an inbox of its own."""
    scanners = tuple(Scanner(id=one, inbox=f"/in/{one}", site="wood", timezone="UTC") for one in ("A20", "B07"))
    return Project(
        project="casca",
        path=tmp_path / "soilpipe.yaml",
        store=str(tmp_path / "store"),
        timezone="UTC",
        sites=(Site(id="wood"),),
        scanners=scanners,
    )


def test_scans_in_a_neighbours_inbox_are_told_where_they_belong(project: Project) -> None:
    names = ("A20_2024-03-06_12H00M.jpg", "A20_2024-03-06_18H00M.jpg", "notes.txt")
    (need,) = strangers_that_need_a_person(project, project.scanner("B07"), names)
    assert need == "A20_2024-03-06_12H00M.jpg and 1 more in the inbox of B07 are named for A20: move them to /in/A20"
    (need,) = strangers_that_need_a_person(project, project.scanner("B07"), names[:1])
    assert need == "A20_2024-03-06_12H00M.jpg in the inbox of B07 is named for A20: move it to /in/A20"
    assert stranger_in_words(project, names[0]) == "is named for A20, whose inbox is /in/A20"


def test_scans_of_nobody_and_files_that_are_none(project: Project) -> None:
    (need,) = strangers_that_need_a_person(project, project.scanner("A20"), ["C9_2024-03-06_12H00M.jpg", "a.txt"])
    assert "no scanner of the project file takes C9_2024-03-06_12H00M.jpg from the inbox of A20" in need
    assert stranger_in_words(project, "C9_2024-03-06_12H00M.jpg") == "is of no declared scanner"
    assert stranger_in_words(project, "notes.txt") == "is no scan by its name"


def test_both_kinds_at_once_are_two_sentences(project: Project) -> None:
    names = ["A20_2024-03-06_12H00M.jpg", "holiday.jpg"]
    needs = list(strangers_that_need_a_person(project, project.scanner("B07"), names))
    assert [need.split()[0] for need in needs] == ["A20_2024-03-06_12H00M.jpg", "no"]
