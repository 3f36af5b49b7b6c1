"""Judging a bundle on the hold-out: what it, or what it comes from, was trained on does not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from soilpipe.bundles.gate import compare
from soilpipe.bundles.judging import hold_out_labels, judge
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.encoder.weights import encoder_of_detector
from soilpipe.taxonomy import SOIL
from tests.labelled_project import labelled_project
from tests.labels.conftest import NOW
from tests.tiny_model import make_model


def test_crops_of_images_that_an_ancestor_or_the_classifier_was_trained_on_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    season = labelled_project(folder, scanners=("A20", "B07"), days=10, tiles=1)
    encoder = encoder_of_detector(make_model(tmp_path / "detector"), device="cpu")
    on = hold_out_labels(season.project, season.store, tmp_path / "tiles")
    assert on is not None and on.tiles >= 3
    first, second, *others = sorted(image.file_name for image in on.labels.labelled)
    crops = labelled_crops(on.labels, encoder, taxonomy=SOIL, facts=on.facts)
    fitted = fit_classifier(crops, taxonomy=SOIL, alpha=0.05).classifier

    def judged(version: str, trained_on: list[str], before: list[str]) -> dict[str, bool]:
        card = {"encoder": encoder.info.version, "alpha": 0.05, "trained_on": {"image_names": trained_on}}
        ancestor = {"name": "a detector", "version": "1", "trained_on": {"simulated": False, "image_names": before}}
        record = judge(
            season.store,
            encoder,
            replace(fitted, card=card),
            version,
            on,
            taxonomy=SOIL,
            seen_scans=(),
            ancestors=[ancestor],
            now=NOW,
        )
        records.append(record)
        image_of = {source.scan: source.image for source in crops.sources}
        return {
            image_of[name.split()[0]]: marked for name, marked in zip(record.crops.ids, record.crops.seen, strict=True)
        }

    records: list = []
    assert judged("clean", ["elsewhere.png"], ["elsewhere.png"]) == dict.fromkeys((first, second, *others), False)
    marked = judged("seen", [second], [first])
    assert marked == {first: True, second: True, **dict.fromkeys(others, False)}
    missing = compare(records[1], records[0], SOIL).missing
    assert any("do not count, because encoder or classifier, or what they began from" in one for one in missing)
