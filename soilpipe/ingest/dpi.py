"""Whether a scan has the resolution that the project file expects of its scanner."""

from __future__ import annotations

from soilpipe.config import Scanner

ALIKE = 0.01
"""Share by which two resolutions may differ that are the same, rounded otherwise."""


def dpi_doubt(scanner: Scanner, dpi: float | None) -> str | None:
    """What to say of a scan of this resolution, dots per inch; None where nothing contradicts it.

    What the file says counts: sizes in mm, and what the detector sees, go by it. A scanner's driver may write its own
    default there instead of what it scanned with, and then all of them are wrong by the same factor.
    """
    if dpi is None or scanner.dpi is None or abs(dpi - scanner.dpi) <= ALIKE * scanner.dpi:
        return None
    return (
        f"its dpi is {dpi:g}, while the project file says {scanner.dpi:g} for {scanner.id}: sizes go by {dpi:g}; look "
        "at how wide the window is in pixels, and mend the setting of the device, or `dpi`"
    )
