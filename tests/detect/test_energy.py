"""Energy is read from counters that begin again, and told as unknown where none may be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from soilpipe.detect.energy import EnergyMeter, hardware, packages

CPU = torch.device("cpu")


def zone(folder: Path, name: str, value: int, span: int = 1_000_000) -> Path:
    place = folder / name
    place.mkdir()
    (place / "max_energy_range_uj").write_text(f"{span}\n")
    (place / "energy_uj").write_text(f"{value}\n")
    return place / "energy_uj"


def test_packages_are_summed_once_and_over_their_range(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 900_000), zone(tmp_path, "intel-rapl:1", 0)
    part = zone(tmp_path, "intel-rapl:0:0", 0)
    assert [place.name for place in packages(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]
    meter = EnergyMeter(CPU, powercap=tmp_path, every_s=3600)
    first.write_text("100000")  # 0.2 J on: it began again
    second.write_text("880000")
    part.write_text("500000")
    told = meter.stop()
    assert told["energy_wh"] == pytest.approx((0.2 + 0.88) / 3600, abs=5e-4)
    assert told["energy_of"] == "processor packages, whole" and told["hardware"] == hardware(CPU)


def test_a_counter_that_begins_again_several_times_is_read_in_between(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", 0, span=3_600_000_000)
    meter = EnergyMeter(CPU, powercap=tmp_path, every_s=3600)
    for value in (3_000_000_000, 1_000_000_000, 500_000_000):
        file.write_text(str(value))
        meter.read()
    assert meter.stop()["energy_wh"] == pytest.approx((3000 + 1600 + 3100) / 3600, abs=1e-3)


def test_without_a_meter_that_may_be_read_it_is_unknown_not_nothing(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    with EnergyMeter(CPU, powercap=tmp_path) as meter:
        told = meter.stop()
    assert told["energy_wh"] is None and told["energy_of"].startswith("not metered")


def test_the_machine_is_named() -> None:
    told = hardware(CPU)
    assert told["processor"] and told["cores"] >= 1 and told["gpu"] is None and told["memory_gb"] > 0.1
