"""Evaluations in the store: what they keep, and when they make a version `local`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout, models
from soilpipe.analyses import (
    ALGORITHM_VERSION,
    analysis_of,
    publish_current,
    published_analysis,
    read_analysis,
    write_analysis,
)
from soilpipe.counts.verify_records import record_problems
from soilpipe.detect import weights
from soilpipe.detect.kept_matches import unpack
from soilpipe.detect.select import load_analysis_detector, load_named_detector
from soilpipe.evaluations import EvaluationError, evaluations, keep
from soilpipe.store import Store
from tests.evaluation_records import NOW, record
from tests.tiny_model import make_model

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="shipped", validation="simulated"))
    return Store(tmp_path / "store")


def test_records_are_kept_apart_by_version_and_come_back_in_time_order(store: Store) -> None:
    late, early = record("a", evaluated_at=NOW + HOUR), record("a")
    keys = [keep(store, one) for one in (late, early, record("b"))]
    assert len(set(keys)) == 3 and keys[0].startswith("records/evaluations/detector/a/")
    assert evaluations(store, "detector", "a") == [early, late]
    assert evaluations(store, "detector", "nobody") == []


def test_the_matches_come_back_as_they_went(store: Store) -> None:
    key = keep(store, record("a"))
    matched = unpack(evaluations(store, "detector", "a")[0].matches)
    assert matched.animals.truths.tolist() == [4] * 40 and int((matched.animals.outcome == 1).sum()) == 120
    assert matched.animals.scores[0] == np.float32(0.9) and len(matched.days) == 20
    assert matched.length_mm[:2].tolist() == pytest.approx([0.35, 1.5])
    assert matched.label_found.reshape(40, 4).sum(axis=0).tolist() == [40, 40, 40, 0]
    assert len(store.read_bytes(key)) < 40_000
    assert list(record_problems(store)) == []
    store.write_bytes(key, store.read_bytes(key).replace(b'"images": 40', b'"images": 41'))
    assert [problem.key for problem in record_problems(store)] == [key]


def test_an_edited_record_is_refused(store: Store) -> None:
    key = keep(store, record("a"))
    store.write_json(key, {**store.read_json(key), "images": "many"})
    with pytest.raises(EvaluationError, match="must not be edited"):
        evaluations(store, "detector", "a")
    whole = record("a").matches
    for broken in (
        {"labels_found": whole.labels_found[:-1]},
        {"animals": whole.animals.model_copy(update={"outcomes": "+"})},
        {"animals": whole.animals.model_copy(update={"outcomes": whole.animals.outcomes.replace("+", "?")})},
    ):
        with pytest.raises(EvaluationError, match="edited"):
            unpack(whole.model_copy(update=broken))


def test_thirty_random_tiles_make_a_version_local() -> None:
    assert record("a", images=30).validation == "local"
    assert record("a", sample="random").validation == "local"


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 29},
        {"sample": "file"},
        {"simulated": True},
        {"trained_on": 1},
        {"sampled": None},  # of a release that did not look for neighbours in time of what was trained on
        {"as_used": False},
        {"algorithm_version": ALGORITHM_VERSION + "x"},
    ],
)
def test_nothing_less_does(changes: dict[str, Any]) -> None:
    assert record("a", **changes).validation == "none"


def test_an_evaluation_speaks_from_then_on_and_older_analyses_stay(store: Store, tmp_path: Path) -> None:
    version = models.register(store, "detector", make_model(tmp_path / "m"))
    before = analysis_of(load_named_detector(version, store).info)
    assert (before.validation, models.show(store, "detector", version).validation) == ("none", "none")

    keep(store, record(version))

    after = analysis_of(load_named_detector(version, store).info)
    assert after.validation == "local" and after.id != before.id
    model = models.show(store, "detector", version)
    assert model.validation == "local" and model.evaluation is not None and model.card["validation"] == "none"
    assert model.evaluation.shortest_found_mm == 0.45 and model.evaluation.figures["ap50"] > 0.7
    again = load_analysis_detector(before, store)
    assert analysis_of(again.info) == before, "a scan that comes late is still detected as it would have been then"


def test_another_threshold_than_the_one_in_use_says_nothing_of_it(store: Store, tmp_path: Path) -> None:
    version = models.register(store, "detector", make_model(tmp_path / "m", threshold=0.6))
    keep(store, record(version, threshold=0.4))
    assert models.show(store, "detector", version).validation == "none"


def test_the_shipped_and_the_change_detector_can_become_local(store: Store) -> None:
    keep(store, record(models.content_of(store, "detector", "shipped")))
    keep(store, record("change", threshold=0.6))
    assert models.show(store, "detector", "shipped").validation == "local"
    assert [model.validation for model in models.list_models(store)] == ["local"]
    assert load_named_detector("champion", store).info.validation == "local"
    assert load_named_detector("change", store).info.validation == "local"


def test_what_was_detected_before_an_evaluation_keeps_its_word_and_later_scans_have_the_new_one(
    store: Store, tmp_path: Path
) -> None:
    """The column `validation` of the counts is that of the analysis published for the time of a slot."""
    version = models.register(store, "detector", make_model(tmp_path / "m"))
    scans = [(f"A-202405{day:02}T000000-0000000{day}", NOW + day * 24 * HOUR) for day in range(1, 5)]

    def publish(known: int) -> dict[str, str]:
        """What a run does that finds the first `known` scans; the validation that each scan's counts get."""
        analysis = analysis_of(load_named_detector(version, store).info)
        write_analysis(store, analysis)
        published = publish_current(store, "A", analysis.id, scans[:known])
        of_scans = {scan: str(published_analysis(published, at)) for scan, at in scans[:known]}
        for scan, analysis_id in of_scans.items():
            store.write_bytes(layout.detection_file(analysis_id, scan), b"detected")
        return {scan: read_analysis(store, analysis_id).validation for scan, analysis_id in of_scans.items()}

    assert list(publish(2).values()) == ["none", "none"]
    keep(store, record(version))
    assert list(publish(4).values()) == ["none", "none", "local", "local"]
