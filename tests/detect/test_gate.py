"""The comparison of two detectors on held-out tiles, each rule with a case that it decides."""

from __future__ import annotations

import pytest

from soilpipe.detect.gate import ALL, compare
from soilpipe.evaluations import EvaluationError
from soilpipe.taxonomy import SOIL
from tests.evaluation_records import record

USUAL = [[True, True, True, False]] * 40
BETTER = [[True, True, True, True]] * 40
OLD = record("old", USUAL)


def test_a_better_detector_is_worse_in_nothing() -> None:
    compared = compare(record("new", BETTER), OLD, SOIL)
    assert compared.worse == () and compared.missing == ()
    assert compared.figures["ap50"]["candidate"] > compared.figures["ap50"]["rival"]
    assert compared.figures["ap50"]["interval"][0] > 0 and compared.figures["days"] == 20


def test_an_equal_detector_is_not_worse() -> None:
    compared = compare(record("new", USUAL), OLD, SOIL)
    assert compared.worse == () and compared.figures["ap50"]["interval"] == (0, 0)


def test_a_loss_of_average_precision_is_told_with_its_interval() -> None:
    worse = [[True, True, False, False]] * 20 + [[True, True, True, False]] * 20
    first = compare(record("new", worse), OLD, SOIL).worse
    assert first[0].startswith("AP50 0.7") and "change -0." in first[0]
    assert any(words.startswith(f"recall of {ALL}") for words in first)
    assert any(words.startswith("recall of Collembola") for words in first)


def test_what_two_of_forty_tiles_lose_is_not_clear_but_may_cost_a_point() -> None:
    """Two animals less of 120: AP50 falls by about 0.01, which its lower bound is then below."""
    little = [[True, True, False, False]] * 2 + [[True, True, True, False]] * 38
    worse = compare(record("new", little), OLD, SOIL).worse
    assert [words.split(" 0.")[0] for words in worse] == ["AP50"]


def test_more_false_alarms_at_equal_recall_shut_the_gate() -> None:
    """They come after the right ones, so that AP50 stays; what is counted does not."""
    compared = compare(record("new", USUAL, alarms=[3] * 40), OLD, SOIL)
    assert [words.split(" per ")[0] for words in compared.worse] == [
        f"false alarms of {ALL}",
        "false alarms of Collembola",
    ]
    alarms = compared.figures["taxa"]["Collembola"]["false_alarms_per_100cm2"]
    assert (alarms["rival"], alarms["candidate"]) == pytest.approx((100.0, 300.0))


def test_the_smallest_animals_must_be_found_as_often() -> None:
    """The same number is found, but in one tile the small one is missed for a large one."""
    other = [[False, True, True, True], *USUAL[1:]]
    compared = compare(record("new", other), OLD, SOIL)
    assert compared.worse == ("recall of animals of 0.3 to 0.45 mm 1.000 -> 0.975",)
    assert compared.figures["smallest"]["animals"] == 40


def test_a_common_taxon_must_still_be_told_but_may_be_told_finer() -> None:
    both = record("old", USUAL, taxa=("Collembola", "Acari"))
    assert compare(record("new", BETTER), both, SOIL).worse == ("it no longer tells Acari, of which there are 160",)
    finer = record("new", BETTER, taxa=("Poduromorpha",))
    assert compare(finer, OLD, SOIL).worse == ()


def test_a_rare_taxon_decides_nothing() -> None:
    """Five tiles with four animals of Acari are 20 labels; four are not enough."""
    for tiles, judged in ((5, True), (4, False)):
        part = [[True] * 4] * tiles + [[]] * (40 - tiles)
        none = [[False] * 4] * tiles + [[]] * (40 - tiles)
        ours, theirs = record("new", USUAL), record("old", USUAL)
        acari = {"Acari": record("x", none, alarms=[0] * 40).matches.animals}
        before = {"Acari": record("x", part, alarms=[0] * 40).matches.animals}
        new = ours.model_copy(update={"matches": ours.matches.model_copy(update={"taxa": acari})})
        old = theirs.model_copy(update={"matches": theirs.matches.model_copy(update={"taxa": before})})
        assert bool(compare(new, old, SOIL).worse) == judged


def test_too_few_labels_are_told_and_nothing_is_compared() -> None:
    few = {"images": 12, "days": 3}
    compared = compare(record("new", BETTER[:12], **few), record("old", USUAL[:12], **few), SOIL)
    assert compared.missing == ("12 of 30 tiles", "48 of 50 animals", "3 of 10 scanner-days")
    assert compared.worse == () and compared.figures == {}


def test_other_labels_are_not_compared() -> None:
    with pytest.raises(EvaluationError, match="different labels"):
        compare(record("new", labels_sha256="2" * 64), OLD, SOIL)
