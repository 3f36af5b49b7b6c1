"""Choosing the earlier scans that a scan is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

LAGS = (timedelta(hours=6), timedelta(hours=24), timedelta(hours=48), timedelta(hours=72))


def choose_references(
    captured_at: datetime, earlier: Sequence[tuple[str, datetime]], lags: Sequence[timedelta] = LAGS
) -> tuple[str, ...]:
    """The scans that serve as references of one captured at `captured_at`, newest first.

    For each lag in turn, the scan nearest to that long before, of those not chosen for a lag before it. Of two equally
    near the older one is taken (an animal has had longer to leave), then the smaller id: the order of `earlier` never
    matters. Scans that are not earlier than `captured_at` are passed over, so a re-run after later scans have come
    sees the same candidates.

    Parameters
    ----------
    captured_at: time of the scan; timezone-aware, as are those of `earlier`.
    earlier: (scan_id, captured_at) of the same scanner, dpi and size; an id that comes twice counts once.
    """
    candidates = {scan_id: time for scan_id, time in earlier if time < captured_at}
    chosen: dict[str, datetime] = {}
    for lag in lags:
        wanted = captured_at - lag
        left = [(abs(time - wanted), time, scan_id) for scan_id, time in candidates.items() if scan_id not in chosen]
        if not left:
            break
        _, time, scan_id = min(left)
        chosen[scan_id] = time
    return tuple(sorted(chosen, key=lambda scan_id: (-chosen[scan_id].timestamp(), scan_id)))
