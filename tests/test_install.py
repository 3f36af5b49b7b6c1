"""What a newcomer is told when the machine lacks something: one sentence with the remedy, before anything is made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent
CONSTRAINTS = REPOSITORY / "constraints.txt"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but what an install reads, and a folder `bin` that comes first on the PATH."""
    folder = tmp_path / "a check out"  # with spaces, as people's folders have
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "scripts/install.sh"):
        shutil.copy(REPOSITORY / name, folder / name)
    (tmp_path / "bin").mkdir()
    return folder


def fake(checkout: Path, program: str, script: str) -> None:
    path = checkout.parent / "bin" / program
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake_python(checkout: Path, version: str, *, venv: bool = True) -> None:
    """Answers the two questions that the install asks of a Python, and fails at everything else."""
    fake(
        checkout,
        "python3",
        f'case "$2" in *version_info*) echo {version};; *ensurepip*) exit {0 if venv else 1};; *) exit 9;; esac',
    )


def install(checkout: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Exit status of `make install` and the lines it says to the person, without make's own."""
    path = f"{checkout.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "SOILPIPE_"))}
    done = subprocess.run(
        ["make", "install", *arguments],
        cwd=checkout,
        env={**settings, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if line and not line.startswith("make")]


def refusal(checkout: Path, *arguments: str, **environment: str) -> str:
    """The one line that a refused install says; nothing was made."""
    status, lines = install(checkout, *arguments, **environment)
    assert status != 0
    assert len(lines) == 1, lines
    assert not (checkout / ".venv").exists()
    return lines[0]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.14", "2.7"])
def test_a_python_out_of_bounds_is_told_with_the_remedy(checkout: Path, version: str) -> None:
    fake_python(checkout, version)
    told = refusal(checkout)
    assert f"Python {version}, but soilpipe needs 3.11, 3.12 or 3.13" in told
    assert "make PYTHON=python3.12" in told


def test_the_bounds_told_are_those_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.14"


def test_a_missing_venv_module_is_told_with_the_package_to_install(checkout: Path) -> None:
    fake_python(checkout, "3.11", venv=False)
    assert "sudo apt install python3.11-venv" in refusal(checkout)


def test_a_missing_python_is_told_with_the_remedy(checkout: Path) -> None:
    told = refusal(checkout, "PYTHON=python3.99")
    assert "no program 'python3.99'" in told
    assert "apt install python3 python3-venv" in told


def test_a_python_that_does_not_run_is_told(checkout: Path) -> None:
    fake(checkout, "python3", "exit 127")
    assert "'python3' does not run" in refusal(checkout)


def test_too_little_space_is_told_with_what_is_needed(checkout: Path) -> None:
    fake_python(checkout, "3.12")
    fake(checkout, "df", "echo Filesystem; echo /dev/sda 100000000 97000000 3000000 97% /")
    told = refusal(checkout)
    assert "only 2 GB are free" in told
    assert "about 10 GB" in told
    assert "CPU-only torch" in told


def test_a_cpu_only_torch_asks_for_less_space(checkout: Path) -> None:
    fake_python(checkout, "3.12")
    fake(checkout, "df", "echo Filesystem; echo /dev/sda 100000000 97000000 3000000 97% /")
    assert "about 4 GB" in refusal(checkout, PIP_EXTRA_INDEX_URL="file:///wheels/cpu")


@pytest.mark.slow
def test_a_failed_download_is_told_and_tried_again_by_the_next_make(checkout: Path) -> None:
    nowhere = {"PIP_INDEX_URL": (checkout / "nowhere").as_uri(), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    status, lines = install(checkout, f"PYTHON={sys.executable}", SOILPIPE_FREE_GB="0", **nowhere)
    assert status != 0
    assert "pip could not install the packages" in lines[-1]
    assert not (checkout / ".venv" / ".installed").exists()


def test_an_installed_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    fake(checkout, "python3", "exit 127")
    assert install(checkout)[0] == 0


def pinned_lines() -> list[str]:
    return [line for line in CONSTRAINTS.read_text().splitlines() if line and not line.startswith("#")]


def test_constraints_hold_names_and_exact_versions_only() -> None:
    lines = pinned_lines()
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    for line in lines:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*", line), line


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    pinned = dict(line.split("==") for line in pinned_lines())
    document = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = document["project"]["optional-dependencies"].values()
    wanted = [*document["project"]["dependencies"], *document["build-system"]["requires"], *chain(*extras)]
    for requirement in map(Requirement, wanted):
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(pinned[name]), f"{requirement} is pinned to {pinned[name]}"
