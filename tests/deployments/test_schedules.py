"""When deployments run: after each slot, by the scanner's own clock, spread out, always the same."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from deployments.schedules import LONGEST_SPREAD, refresh_schedule, schedules_of, spread
from soilpipe.config import RefreshPlan, Scanner


def scanner(slots: object, scanner_id: str = "A", zone: str = "Europe/Paris") -> Scanner:
    return Scanner.model_validate(
        {"id": scanner_id, "site": "here", "inbox": "/inbox", "timezone": zone, "slots": slots}
    )


def test_each_slot_has_its_own_schedule_a_few_minutes_after_it() -> None:
    made = schedules_of(scanner(["00:00", "06:00", "12:00", "18:00"]))

    assert [one.slug for one in made] == ["slot-0000", "slot-0600", "slot-1200", "slot-1800"]
    for one, hour in zip(made, (0, 6, 12, 18), strict=True):
        minute, at = (int(part) for part in (one.cron or "").split()[:2])
        assert at == hour
        assert 7 <= minute < 7 + LONGEST_SPREAD / timedelta(minutes=1)
        assert one.timezone == "Europe/Paris"


def test_a_slot_shortly_before_midnight_is_run_after_midnight() -> None:
    (one,) = schedules_of(scanner(["23:58"]))

    assert (one.cron or "").split()[1] == "0"


def test_the_offset_is_stable_and_spreads_scanners() -> None:
    offsets = [spread(f"scanner_{number}", LONGEST_SPREAD) for number in range(200)]

    assert offsets == [spread(f"scanner_{number}", LONGEST_SPREAD) for number in range(200)]
    assert set(offsets) == set(range(30))


def test_a_run_comes_before_the_next_slot_even_where_slots_are_close() -> None:
    for number in range(50):
        first, _ = schedules_of(scanner(["06:00", "06:10"], f"s_{number}"))
        minute, hour = (int(part) for part in (first.cron or "").split()[:2])
        assert hour == 6
        assert minute < 10


@pytest.mark.parametrize(
    ("slots", "slug", "runs_an_hour"), [("every 20min", "every-20min", 3), ("every 30min", "every-30min", 2)]
)
def test_intervals_that_divide_the_hour_run_at_fixed_minutes(slots: str, slug: str, runs_an_hour: int) -> None:
    (one,) = schedules_of(scanner(slots))

    assert one.slug == slug
    assert len((one.cron or "").split()[0].split(",")) == runs_an_hour


def test_intervals_of_hours_run_at_fixed_hours() -> None:
    (one,) = schedules_of(scanner("every 4h"))

    assert len((one.cron or "").split()[1].split(",")) == 6


def test_odd_intervals_run_by_steps_from_a_fixed_beginning() -> None:
    (one,) = schedules_of(scanner("every 50min"))

    assert one.interval == timedelta(minutes=50)
    assert one.anchor_date == schedules_of(scanner("every 50min"))[0].anchor_date


def test_irregular_scanners_run_hourly() -> None:
    (one,) = schedules_of(scanner("irregular"))

    assert one.slug == "hourly"
    assert (one.cron or "").endswith(" * * * *")


def test_slots_are_those_of_the_project_file() -> None:
    assert scanner(["06:00"]).slots == (time(6),)


def test_the_refresh_runs_once_a_week_at_the_hour_of_the_project_file() -> None:
    plan = RefreshPlan(day="wednesday", hour=22)

    made = refresh_schedule(plan, "America/Cayenne")

    assert (made.cron, made.timezone, made.slug) == ("0 22 * * 3", "America/Cayenne", "weekly")
    assert refresh_schedule(RefreshPlan(day="sunday"), "UTC").cron == "0 3 * * 0"


def test_the_upkeep_runs_once_a_week_and_what_it_does_is_told(tmp_path: Path) -> None:
    from deployments.apply import upkeep_deployment
    from soilpipe.config import load_project
    from tasks.upkeep import remove_leftovers
    from tests.flow_fixtures import make_project

    made = make_project(tmp_path / "project")
    deployment = upkeep_deployment(load_project(made.file))
    assert (deployment.full_name, deployment.tags) == ("upkeep/tiny-upkeep", ["soilpipe", "project:tiny", "upkeep"])
    (one,) = deployment.schedules or ()
    assert (one.slug, getattr(one.schedule, "cron", None)) == ("weekly", "30 4 * * 1")

    (made.store / ".tmp").mkdir(parents=True)
    (made.store / ".tmp/0123").write_bytes(bytes(3_000_000))
    soon = datetime.now(UTC)
    assert remove_leftovers.fn(str(made.file), soon) == "0 leftovers removed, 0.0 MB freed"
    later = soon + timedelta(days=2)
    assert remove_leftovers.fn(str(made.file), later) == "1 leftovers removed, 3.0 MB freed"
    assert not list((made.store / ".tmp").iterdir())
