"""Scanner seasons with known truth: `loam` and `varied` for training, `peat` for testing only. numpy and cv2 only."""

from __future__ import annotations

from soilpipe.simulate.joined import join_truths
from soilpipe.simulate.season import simulate_season
from soilpipe.simulate.spec import SeasonSpec, SimulatedScan, SimulationError, TrueAnimal
from soilpipe.simulate.write import write_season

__all__ = [
    "SeasonSpec",
    "SimulatedScan",
    "SimulationError",
    "TrueAnimal",
    "join_truths",
    "simulate_season",
    "write_season",
]
