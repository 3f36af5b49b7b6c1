"""The background of a scan: which earlier scans to compare with, their registration, their median, the difference.

The strategy, in the order of the files:

- `references`: the earlier scans of the same scanner nearest to 6, 24, 48 and 72 hours before;
- `registration`: where each of them lies under the scan, on a fixed lattice that belongs to the scan and not to tiles;
- `tone`: how bright each of them is beside the scan, so that gain, lamp and fog drop out;
- `contrast`: light and contrast of the scan made alike everywhere, for detectors that are trained so;
- `cut_references`: the same references for a window that is cut out of the scan;
- `model_input`: windows of the scan with the difference beside the colours, the same bits whatever the window.
"""

from __future__ import annotations

from soilpipe.background.contrast import even_contrast
from soilpipe.background.cut_references import cut_references, load_references, save_references
from soilpipe.background.model_input import ModelInput, RgbOnly, rgb_only
from soilpipe.background.references import LAGS, choose_references
from soilpipe.background.registration import Registration, register, register_all

__all__ = [
    "LAGS",
    "ModelInput",
    "Registration",
    "RgbOnly",
    "choose_references",
    "cut_references",
    "even_contrast",
    "load_references",
    "register",
    "register_all",
    "rgb_only",
    "save_references",
]
