"""A classifier's card names all that it learned from, and what it knows does not judge it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from soilpipe.classify.adding import add_to_version
from soilpipe.classify.evaluation import evaluate
from soilpipe.classify.examples import BACKGROUND, Source, joined
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.learned_from import knows, told_of
from soilpipe.classify.training import train_classifier
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.ancestry import seen
from soilpipe.taxonomy import SOIL
from tests.classify.drawn_labels import draw_labels, tiny_encoder
from tests.classify.made_crops import DIM, made_crops

TIME = "2024-03-05T06:00:00+00:00"


def source(scan: str, scanner: str | None = None, time: str | None = None) -> Source:
    return Source(scan, (0.0, 0.0, 8.0, 6.0), scanner, time, True, 21.17, f"{scan}.png")


def test_no_name_and_no_time_is_lost_however_many_there_are() -> None:
    many = [source(f"s{n}", "A", f"{1000 + n}-03-05T06:00:00+00:00") for n in range(3000)]
    told = told_of(many)
    assert len(told["image_names"]) == len(told["scans"]) == len(told["scanner_times"]["A"]) == told["images"] == 3000


def test_a_scan_is_known_by_its_id_and_by_its_scanner_and_time() -> None:
    card = {"trained_on": told_of([source("one", "A", TIME)]), "served": {"calibration": told_of([source("cal")])}}
    asked = [
        source("one"),
        source("another name", "A", "2024-03-05T07:00:00+01:00"),
        source("other", "A", "2024-03-05T12:00:00+00:00"),
        source("other", "B", TIME),
        source("cal"),
        source("nothing known"),
    ]
    assert knows(card, [], asked).tolist() == [True, True, False, False, True, False]
    assert knows({}, [asked[2]], asked).tolist() == [False, False, True, True, False, False]  # both are called "other"


def test_no_neighbour_judges_itself() -> None:
    counts = {"Poduromorpha": 12, "Oribatida": 10, BACKGROUND: 15}
    own = made_crops(counts)
    classifier = replace(fit_classifier(own, taxonomy=SOIL, alpha=0.05).classifier, card={"alpha": 0.05})
    fresh = made_crops(counts, ("X",), seed=5)
    both = evaluate(classifier, joined([own, fresh], DIM), SOIL)
    assert both.seen == len(own) and both.crops == len(fresh)
    assert replace(both, seen=0) == evaluate(classifier, fresh, SOIL)


def test_the_card_tells_what_was_learned_from_what_calibrated_and_what_was_added(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "encoder")
    labels = draw_labels(tmp_path / "labels", {"Acari": 2, "Collembola": 2})
    card = train_classifier(
        labels, labels.parent, tmp_path / "one", encoder=encoder, taxonomy=SOIL, calibrate=["C"], name="n"
    )
    days = [f"2024-03-{day:02d}T06:00:00+00:00" for day in (1, 5, 9)]
    assert card["trained_on"]["scanner_times"] == {"A": days, "B": days}
    assert card["trained_on"]["scans"] == [f"{scanner}{scan}.png" for scanner in "AB" for scan in range(3)]
    assert card["served"]["calibration"]["scanner_times"] == {"C": days}
    tile = SimpleNamespace(scanner_id="A", captured_at=datetime.fromisoformat(days[0]))
    elsewhere = SimpleNamespace(scanner_id="D", captured_at=datetime.fromisoformat(days[0]))
    assert seen(card, ["a tile of that scan.png"], [tile], held_out=True) == 1
    assert seen(card, ["a tile of that scan.png"], [elsewhere], held_out=True) == 0

    new = draw_labels(tmp_path / "new", {"Isopoda": 2}, scanners=("E", "F", "G"), scans=1, seed=5)
    known = load_classifier(tmp_path / "one")
    after = add_to_version(known, new, new.parent, tmp_path / "two", encoder=encoder, taxonomy=SOIL)
    assert set(after["trained_on"]["scanner_times"]) == set("ABEFG") and after["served"] == card["served"]
    two = load_classifier(tmp_path / "two")
    assert np.flatnonzero(two.knows([source("x", who, days[0]) for who in "ABCDEFG"])).tolist() == [0, 1, 2, 4, 5, 6]
