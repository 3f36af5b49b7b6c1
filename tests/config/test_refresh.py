"""The weekly refresh in the project file: its defaults, its switch, and what is told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.config import TEMPLATE, ConfigError, RefreshPlan, load_project

PROJECT = """\
project: casca
store: ./store
timezone: Europe/Paris
sites: [{id: wood}]
scanners: [{id: A20, site: wood, inbox: ./in}]
"""


def loaded(folder: Path, refresh: str) -> RefreshPlan | None:
    file = folder / "soilpipe.yaml"
    file.write_text(PROJECT + refresh)
    return load_project(file).refresh


def test_left_out_it_is_weekly_with_the_defaults_which_the_template_shows(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == RefreshPlan()
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)
    assert load_project(file).refresh == RefreshPlan()


def test_never_means_never(tmp_path: Path) -> None:
    assert loaded(tmp_path, "refresh: never\n") is None


def test_all_of_it_can_be_said(tmp_path: Path) -> None:
    first = "day: Wed, hour: 22, minutes: 7.5, steps: 1e4, batch: 16"
    plan = loaded(tmp_path, f"refresh: {{{first}, recompute: true, crops: 500, memory: 1GiB}}\n")
    assert plan == RefreshPlan(
        day="wednesday", hour=22, minutes=7.5, steps=10_000, batch=16, recompute=True, crops=500, memory=2**30
    )


@pytest.mark.parametrize(
    ("refresh", "told"),
    [
        ("weekly", "is no block"),
        ("{dai: monday}", "refresh.dai: is an unknown key: did you mean day?"),
        ("{day: sundy}", "no day of the week. Write sunday"),
        ("{hour: 24}", "out of bounds (0 to 23)"),
        ("{hour: 3.5}", "is not whole"),
        ("{minutes: 0}", "out of bounds"),
        ("{steps: many}", "is not a number"),
        ("{crops: 8}", "32 or more"),
        ("{batch: 2}", "4 or more"),
        ("{recompute: maybe}", "Write true or false"),
        ("{memory: 1MB}", "too little to learn with"),
        ("{memory: 4}", "is no size"),
        ("{day: }", "has no value"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_a_remedy(tmp_path: Path, refresh: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"refresh: {refresh}\n")
    assert told in str(error.value) and "line 6" in str(error.value)


def test_in_a_scanners_block_it_is_told_to_belong_to_the_project(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_text(PROJECT.replace("inbox: ./in}", "inbox: ./in, refresh: never}"))
    with pytest.raises(ConfigError, match="belongs to the whole project"):
        load_project(file)


def test_when_models_are_trained_changes_no_series(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_text(PROJECT)
    before = load_project(file).snapshot()
    file.write_text(PROJECT + "refresh: never\n")
    assert load_project(file).snapshot() == before
