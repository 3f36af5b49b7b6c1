"""A small project file whose parts a test can change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soilpipe.config import ConfigError, Project, load_project

HEAD = """\
project: casca
store: ./store
timezone: Europe/Paris
sites:
  - {id: truffiere, latitude: 43.61, longitude: 3.87}
"""
SCANNER = """\
scanners:
  - id: DIAMS_A20_O
    site: truffiere
    inbox: ./inbox/A20
"""


@pytest.fixture
def project_of(tmp_path: Path) -> Callable[..., Project]:
    """Write and load a project file: `HEAD`, lines at the top, `SCANNER`, lines in the scanner, anything behind."""

    def load(top: str = "", scanner: str = "", behind: str = "", head: str = HEAD, scanners: str = SCANNER) -> Project:
        indented = "".join(f"    {line}\n" for line in scanner.splitlines())
        file = tmp_path / "soilpipe.yaml"
        file.write_text(f"{head}{top}\n{scanners}{indented}{behind}\n", encoding="utf-8")
        return load_project(file)

    return load


@pytest.fixture
def told_by(project_of: Callable[..., Project]) -> Callable[..., str]:
    """The text of the ConfigError that loading such a file raises."""

    def told(*parts: str, **named: str) -> str:
        with pytest.raises(ConfigError) as refused:
            project_of(*parts, **named)
        return str(refused.value)

    return told
