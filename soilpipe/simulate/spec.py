"""What is asked of a simulated season, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from zlib import crc32

import numpy as np

from soilpipe.errors import SoilpipeError

GeneratorName = Literal["loam", "varied", "peat"]


class SimulationError(SoilpipeError):
    """A season that cannot be simulated as asked."""


@dataclass(frozen=True)
class SeasonSpec:
    """One scanner's season.

    generator: `loam` (for training), `varied` (for training: loam whose colours, textures, clutter, scanner and bodies
    are drawn anew for each season) or `peat` (other textures, bodies and gain: for testing only).
    times: capture times, timezone-aware UTC, ascending. animals_per_100cm2: mean over seasons; None means the real
    campaign's (about 2.0). evenness: 0 keeps the campaign's frequencies of the taxa, 1 makes all equally common.
    look_alikes_per_cm2, patches_per_animal: static things that look like animals, and pasted patches of bare ground.
    Only `scanner_id`, `generator` and `seed` choose the random numbers: the order in which seasons are made does not.
    """

    scanner_id: str
    generator: GeneratorName
    seed: int
    times: tuple[datetime, ...]
    height_px: int
    width_px: int
    dpi: float = 1200.0
    animals_per_100cm2: float | None = None
    evenness: float = 0.0
    look_alikes_per_cm2: float = 4.0
    patches_per_animal: float = 0.7

    def __post_init__(self) -> None:
        if self.generator not in get_args(GeneratorName):
            raise SimulationError(
                f"generator {self.generator!r} is unknown: use loam or varied (training), or peat (testing)."
            )
        if not self.times:
            raise SimulationError(f"scanner {self.scanner_id}: a season needs at least one capture time.")
        if any(time.tzinfo is None for time in self.times):
            raise SimulationError(f"scanner {self.scanner_id}: capture times need a time zone; give them in UTC.")
        if any(later <= earlier for earlier, later in zip(self.times, self.times[1:], strict=False)):
            raise SimulationError(f"scanner {self.scanner_id}: capture times must ascend, each once.")
        if min(self.height_px, self.width_px) < 64 or not 75 <= self.dpi <= 9600:
            raise SimulationError(
                f"scanner {self.scanner_id}: {self.width_px} x {self.height_px} px at {self.dpi:g} dpi cannot be "
                "simulated; use at least 64 x 64 px and 75 to 9600 dpi."
            )
        if not 0.0 <= self.evenness <= 1.0:
            raise SimulationError(f"scanner {self.scanner_id}: evenness {self.evenness:g} must lie between 0 and 1.")

    @property
    def px_per_mm(self) -> float:
        return self.dpi / 25.4

    @property
    def window_mm(self) -> tuple[float, float]:
        """Height and width of the window, mm."""
        return self.height_px / self.px_per_mm, self.width_px / self.px_per_mm

    @property
    def window_cm2(self) -> float:
        height, width = self.window_mm
        return height * width / 100.0

    def random(self, purpose: str, *number: int) -> np.random.Generator:
        """A generator of its own for each purpose, so that one part drawing more moves no other part."""
        name = crc32(f"{self.generator}/{self.scanner_id}/{purpose}".encode())
        return np.random.default_rng([self.seed & (2**63 - 1), name, *number])


@dataclass(frozen=True)
class TrueAnimal:
    """An animal that a person could see in a scan.

    box: x_min, y_min, x_max, y_max, px of the scan as written, half-open: the part of the body that shows, without
    legs, antennae and cerci. polygon: (n, 2) x, y outline of the same, px. length_mm: length of the whole body along
    its axis. scans_present: consecutive scans right before this one in which it sat at this very place. visible: share
    of the body that shows. contrast: mean difference from the ground behind, grey levels of 255. walking: it moved
    while the carriage passed.
    """

    track_id: int
    taxon: str
    box: tuple[float, float, float, float]
    length_mm: float
    scans_present: int
    polygon: tuple[tuple[float, float], ...]
    visible: float = 1.0
    contrast: float = 0.0
    walking: bool = False


@dataclass(frozen=True)
class SimulatedScan:
    """captured_at: UTC. image: (H, W, 3) uint8 RGB. animals: those that a person could see, by track."""

    captured_at: datetime
    image: np.ndarray = field(repr=False)
    animals: tuple[TrueAnimal, ...]
