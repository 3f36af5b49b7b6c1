"""A run with a classifier: what it names, what its analysis is called, and that nothing changes where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from soilpipe import models
from soilpipe.analyses import analysis_of
from soilpipe.background import Registration
from soilpipe.classify.embedding import embed_boxes
from soilpipe.classify.examples import ClassifierError
from soilpipe.classify.identifying import IdentifyingDetector
from soilpipe.classify.training import train_classifier
from soilpipe.classify.weights import load_classifier
from soilpipe.counts.abundance import Lineages
from soilpipe.decisions import decide
from soilpipe.detect.base import Detections, DetectorInfo, Validation, no_detections
from soilpipe.detect.run import detect_scan
from soilpipe.detect.select import load_named_detector
from soilpipe.detections import read_detection_file
from soilpipe.encoder.weights import encoder_of_detector
from soilpipe.ingest.receipts import read_receipt
from soilpipe.run_detector import judged_as, load_run_analysis_detector, load_run_detector
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import ScanImage, image_from_array
from tests.classify.drawn_labels import draw_labels, tiny_encoder
from tests.labelled_project import labelled_project
from tests.labels.conftest import NOW, Season
from tests.tiny_model import make_model

BOXES = np.array([[165, 138, 235, 162], [20, 30, 50, 60]], np.float32)


class TwoAnimals:
    """Finds the same two things in every scan, or nothing."""

    def __init__(self, boxes: np.ndarray = BOXES) -> None:
        self.info = DetectorInfo("two", "two-1", ("Invertebrata",), 21.17, 0.5, "none", uses_difference=False)
        self.boxes = boxes
        self.references: list[int] = []

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        self.references.append(len(references))
        if not len(self.boxes):
            return no_detections(self.info.taxa)
        n = len(self.boxes)
        return Detections(
            self.boxes, np.linspace(0.9, 0.6, n).astype(np.float32), np.zeros(n, np.int64), self.info.taxa
        )


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    """A project with a promoted detector, and a registered classifier on its trunk that is not in use."""
    folder = tmp_path_factory.mktemp("project")
    season = labelled_project(folder, days=2, tiles=1)
    store = season.store
    detector = models.register(store, "detector", make_model(folder / "tiny"))
    decide(store, "detector", "promote", detector, "shipped", NOW, True, "tests", {})
    encoder = encoder_of_detector(models.model_path(store, "detector", detector), device="cpu")
    labels = draw_labels(folder / "labels", {"root": 1, "Acari": 2, "Collembola": 2})
    train_classifier(labels, labels.parent, folder / "classifier", encoder=encoder, taxonomy=SOIL)
    models.register(store, "classifier", folder / "classifier")
    return season


def classifier_of(season: Season) -> str:
    return models.list_models(season.store, "classifier")[0].version


def identifying(season: Season, detector: TwoAnimals) -> IdentifyingDetector:
    folder = models.model_path(season.store, "classifier", classifier_of(season))
    tiny = models.model_path(season.store, "detector", models.champion(season.store, "detector"))
    return IdentifyingDetector(detector, load_classifier(folder), encoder_of_detector(tiny, device="cpu"))


def test_the_detection_file_holds_what_the_classifier_says(season: Season) -> None:
    scan_id = season.scan(44, animal=True)
    plain = TwoAnimals()
    detector = identifying(season, plain)
    analysis = analysis_of(detector.info)
    done = detect_scan(season.project, season.store, read_receipt(season.store, scan_id), detector, analysis)
    rows = read_detection_file(season.store, analysis.id, scan_id).table.to_pylist()
    assert done.n == 2 and len(rows) == 2
    names = {*load_classifier(models.model_path(season.store, "classifier", classifier_of(season))).tree.nodes, None}
    for row in rows:
        assert row["taxon"] in names and (row["probability"] is None) == (row["taxon"] is None)
        assert row["taxon"] is None or 0 < row["probability"] <= 1
        assert row["alternatives"] is not None and isinstance(row["is_unknown"], bool)
        chances = [other["probability"] for other in row["alternatives"]]
        assert chances == sorted(chances, reverse=True)
    # The crops have their difference, and the detector that knows none is shown no reference.
    assert plain.references == [0] and analysis.id != analysis_of(plain.info).id
    again = season.files("detections")
    detect_scan(season.project, season.store, read_receipt(season.store, scan_id), detector, analysis)
    assert season.files("detections") == again


def test_a_scan_in_which_nothing_is_found_is_classified_too(season: Season) -> None:
    scan_id = season.scan(48)
    detector = identifying(season, TwoAnimals(np.zeros((0, 4), np.float32)))
    analysis = analysis_of(detector.info)
    assert detect_scan(season.project, season.store, read_receipt(season.store, scan_id), detector, analysis).n == 0
    assert read_detection_file(season.store, analysis.id, scan_id).table.num_rows == 0


def test_without_a_classifier_in_use_the_run_is_what_it_was(season: Season) -> None:
    found = load_run_detector(season.project, season.store)
    named = load_named_detector("champion", season.store)
    assert type(found) is type(named) and found.info == named.info
    assert "classifier" not in analysis_of(found.info).settings


def test_a_promoted_classifier_names_the_findings_under_an_analysis_of_its_own(season: Season) -> None:
    store, version = season.store, classifier_of(season)
    before = analysis_of(load_run_detector(season.project, store).info)
    decide(store, "classifier", "promote", version, "none", NOW + timedelta(days=1), True, "tests", {})
    detector = load_run_detector(season.project, store)
    analysis = analysis_of(detector.info)
    assert isinstance(detector, IdentifyingDetector) and analysis.id != before.id
    trunk = f"detector:{models.champion(store, 'detector')}"
    assert analysis.settings["classifier"] == {"version": version, "encoder": trunk}
    assert analysis.taxa == ("Collembola", "Acari")
    # Roots are found, and not counted; what is above a class is.
    reportable = Lineages(season.project.taxonomy).reportable(analysis.taxa)
    assert {"Collembola", "Acari", "Invertebrata"} <= set(reportable) and "root" not in reportable
    # Scans that come late for the time before, and after, get the analysis of their time.
    for of_then in (before, analysis):
        assert analysis_of(load_run_analysis_detector(of_then, store).info) == of_then
    models.rollback(store, "classifier", "tests", NOW + timedelta(days=2))
    assert analysis_of(load_run_detector(season.project, store).info) == before
    assert analysis_of(load_run_analysis_detector(analysis, store).info) == analysis


@pytest.mark.parametrize(
    ("detector", "classifier", "both"),
    [
        ("local", "local", "local"),
        ("local", "none", "none"),
        ("simulated", "local", "simulated"),
        ("none", "local", "none"),
    ],
)
def test_counts_are_judged_as_well_as_the_weaker_of_both(
    season: Season, detector: Validation, classifier: Validation, both: Validation
) -> None:
    plain = TwoAnimals()
    plain.info = replace(plain.info, validation=detector)
    found = identifying(season, plain)
    assert IdentifyingDetector(plain, found._classifier, found._encoder, classifier).info.validation == both


def test_a_classifier_was_judged_locally_once_it_passed_the_gate_and_not_when_it_was_forced(tmp_path: Path) -> None:
    store = labelled_project(tmp_path, days=1, tiles=1).store
    assert judged_as(store, "abc") == "none"
    decide(store, "classifier", "promote", "abc", "none", NOW, True, "tests", {})
    assert judged_as(store, "abc") == "none"
    decide(
        store, "encoder", "promote", "e", "none", NOW + timedelta(days=1), False, "", {}, together={"classifier": "abc"}
    )
    assert judged_as(store, "abc") == "local" and judged_as(store, "other") == "none"


def test_a_detector_is_not_given_a_classifier_of_another_encoder(season: Season, tmp_path: Path) -> None:
    folder = models.model_path(season.store, "classifier", classifier_of(season))
    with pytest.raises(ClassifierError, match="cannot read those of"):
        IdentifyingDetector(TwoAnimals(), load_classifier(folder), tiny_encoder(tmp_path))


def test_a_small_animal_is_not_drowned_in_the_ground_round_it(tmp_path: Path) -> None:
    """The vector of a mite does not change when the ground 40 px away does; that of a springtail's crop does."""
    encoder = tiny_encoder(tmp_path)
    picture = np.full((200, 200, 3), 90, np.uint8)
    other = picture.copy()
    other[:70] = other[130:] = 180
    boxes = np.array([[92, 92, 108, 108], [70, 90, 130, 110]], np.float64)
    one, two = (
        embed_boxes(encoder, image_from_array(each, 21.17, "s"), (), (), boxes).embeddings for each in (picture, other)
    )
    assert (one[0] == two[0]).all() and not np.allclose(one[1], two[1], atol=1e-3)
    nothing = embed_boxes(encoder, image_from_array(picture, 21.17, "s"), (), (), np.zeros((0, 4)))
    assert nothing.embeddings.shape == (0, encoder.info.dim)
