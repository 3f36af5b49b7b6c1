"""Counts through time: a gap stays a gap, whatever the number of slots."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from soilpipe.report import plots


def tables(values: list[float | None], states: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A scanner's slots and the counts of Collembola in them."""
    times = pd.date_range("2024-03-06", periods=len(states), freq="6h", tz="UTC")
    slots = pd.DataFrame({"slot": times, "state": states})
    counts = pd.DataFrame({"slot": times, "taxon": "Collembola", "n": values, "n_total": values}).astype(
        {"n": float, "n_total": float}
    )
    return slots, counts


def test_a_slot_without_a_number_has_no_point() -> None:
    slots, counts = tables([3, None, 0, 2], ["observed", "missing", "observed", "late"])
    line = plots.timeline(slots, counts)
    np.testing.assert_array_equal(line.counts["Collembola"], [3, np.nan, 0, 2])
    assert list(line.slots["lane"]) == ["observed", "missing", "observed", "late"]


def test_a_scan_without_a_count_is_told_apart_from_a_counted_one() -> None:
    slots, counts = tables([3, None], ["observed", "observed"])
    assert list(plots.timeline(slots, counts).slots["lane"]) == ["observed", "uncounted"]


def test_a_scan_that_was_compared_with_nothing_has_a_lane_of_its_own_and_keeps_its_point() -> None:
    slots, counts = tables([3, 1, 2, None], ["observed", "late", "observed", "observed"])
    line = plots.timeline(slots.assign(references_used=[0, 0, 4, 0]), counts)
    assert list(line.slots["lane"]) == ["uncompared", "uncompared", "observed", "uncounted"]
    assert list(line.slots["state"]) == list(slots["state"])
    np.testing.assert_array_equal(line.counts["Collembola"], [3, 1, 2, np.nan])
    assert plots.counts_figure(slots.assign(references_used=[0, 0, 4, 0]), counts) != plots.counts_figure(slots, counts)


def test_a_day_mean_is_over_the_counted_scans_only_and_an_empty_day_is_a_gap() -> None:
    times = pd.date_range("2024-03-06", periods=12, freq="6h")
    values = np.array([4, np.nan, 2, np.nan] + [np.nan] * 4 + [0, 0, 0, 0])
    days, means = plots._binned(times, values, "day")
    assert len(days) == 3
    np.testing.assert_array_equal(means, [3, np.nan, 0])


def test_long_series_are_drawn_by_day_and_longer_ones_by_week() -> None:
    assert plots._step(pd.date_range("2024-03-06", periods=240, freq="6h")) == "slot"
    assert plots._step(pd.date_range("2024-03-06", periods=241, freq="6h")) == "day"
    assert plots._step(pd.date_range("2024-03-06", periods=4 * 500, freq="6h")) == "week"


def test_taxa_that_only_hold_others_get_no_panel_but_all_animals_do() -> None:
    slots, counts = tables([3, 1], ["observed", "observed"])
    sums = [counts.assign(taxon=taxon, n=0.0) for taxon in ("Invertebrata", "Hexapoda")]
    never = counts.assign(taxon="Acari", n=0.0, n_total=0.0)
    line = plots.timeline(slots, pd.concat([counts, *sums, never]))
    assert plots.shown_taxa(line) == ("Invertebrata", "Collembola")


@pytest.mark.parametrize("n", [0, 1, 7, 300])
def test_the_figure_is_a_picture_of_the_same_bytes_each_time(n: int) -> None:
    states = (["observed", "missing", "late", "quarantined", "observed", "pending", "observed"] * 50)[:n]
    values = [None if state in ("missing", "quarantined", "pending") else 2.0 for state in states]
    slots, counts = tables(values, states)
    first = plots.counts_figure(slots, counts, zone="Europe/Paris", title="A")
    assert first == plots.counts_figure(slots, counts, zone="Europe/Paris", title="A")
    assert Image.open(io.BytesIO(first)).width > 1000
    assert not plt.get_fignums()


def test_nothing_found_is_said_and_not_left_empty() -> None:
    slots, counts = tables([0, 0], ["observed", "observed"])
    assert plots.shown_taxa(plots.timeline(slots, counts)) == ()
    assert plots.counts_figure(slots, counts).startswith(b"\x89PNG")
