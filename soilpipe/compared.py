"""What a scan was compared with when it was detected, as its detection file tells it, and the doubt that follows.

Without a difference a detector has only the look of things to go by, and boxes far fewer animals: counts drop for as
long as that lasts, and no animal has gone. So it is told wherever the count is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_REFERENCES = 2
"""Usable earlier scans that a background needs (`background.model_input`)."""
LOOKS_ALONE = "none: this detector looks at the picture alone"
"""`difference` in the metadata of what a detector found that is never compared with anything."""


@dataclass(frozen=True)
class Compared:
    """references_used: the earlier scans whose background was subtracted, 0 where too few were usable; None where it is
    not known, or the detector compares nothing. doubt: in words, why there was nothing to compare with; else None."""

    references_used: int | None = None
    doubt: str | None = None


def compared_with(metadata: Mapping[str, Any]) -> Compared:
    """What the metadata of a detection file tells; nothing, where it is of a release that did not write it."""
    difference, references = metadata.get("difference"), metadata.get("references")
    if not isinstance(difference, str) or difference == LOOKS_ALONE or not isinstance(references, list):
        return Compared()
    refused = [reference for reference in references if not reference.get("ok")]
    usable = len(references) - len(refused)
    if usable >= LEAST_REFERENCES:
        return Compared(usable)
    if not references:
        why = "the store holds no earlier scan of its dpi and size"
    elif not refused:
        why = "there is only one earlier scan of its dpi and size"
    else:
        can = f"of {len(references)} earlier scans {'one' if usable else 'none'} can be used"
        if len(references) == 1:
            can = "the only earlier scan cannot be used"
        why = f"{can} ({refused[0].get('reason') or 'no reason is told'})"
    # The detector of changes has nothing else to go by.
    what = "nothing can be found" if metadata.get("detector") == "change" else "more animals are missed than usual"
    return Compared(0, f"compared with nothing, so {what}: {why}")
