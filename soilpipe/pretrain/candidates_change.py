"""Where a scan differs from the scans before it, told cheaply on a coarse level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soilpipe.background import ModelInput, Registration
from soilpipe.detect.change import ChangeSettings, change_map
from soilpipe.detect.components import find_components
from soilpipe.tiles import ScanImage

COARSE_UM_PER_PX = 85.0
"""A quarter of 1200 dpi: 9 million px of an A4 scan. A mite of 0.3 mm is still 4 px long."""
_QUANTUM = 8.0  # steps of `change_map` per median of the noise


def changed_places(
    scan: ScanImage, references: Sequence[ScanImage], registrations: Sequence[Registration]
) -> np.ndarray | None:
    """(n, 2) float64, x y, px at full resolution: the middle of each thing that changed, in the order of its first
    pixel. None where nothing can be told: with fewer than two usable references.

    By the evidence and the thresholds of the `change` detector, with no ranking: what left counts as what came.
    """
    settings = ChangeSettings(um_per_px=COARSE_UM_PER_PX)
    windows = ModelInput(scan, references, registrations, settings.um_per_px)
    if windows.usable < 2:
        return None
    um_per_px = scan.um_per_px * windows.factor
    evidence = change_map(windows, um_per_px, settings)
    reach = max(1, round(settings.gap_mm * 1000 / um_per_px))
    found = find_components(evidence, settings.low * _QUANTUM, settings.high * _QUANTUM, reach)
    longest = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0) * um_per_px / 1000
    boxes = found.boxes[longest <= settings.largest_mm].astype(float)
    return (boxes[:, :2] + boxes[:, 2:]) / 2 * windows.factor
