"""The gate of encoder and classifier: what it lets pass, what it refuses, and what it cannot say."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.bundles.gate import calibration_of, compare, lead, macro_f1
from soilpipe.bundles.promotion import Bundle, verdict_on
from soilpipe.bundles.records import BundleRecord
from soilpipe.taxonomy import SOIL, Taxon, Taxonomy
from tests.bundles.records_made import CLASSES, judgement


def test_one_that_is_better_passes_and_the_figures_say_by_how_much() -> None:
    verdict = verdict_on(judgement("new", wrong=0.05), [judgement(wrong=0.15)])
    assert verdict.passed and not verdict.undecided
    macro = verdict.figures["comparison"]["macro_f1"]
    assert macro["candidate"] == pytest.approx(0.95, abs=0.005) and macro["rival"] == pytest.approx(0.85, abs=0.005)
    assert macro["interval"][0] > 0
    assert (
        "macro-F1 0.850 -> 0.950 against encoder e1" in verdict.words
        and "on 400 animals and 200 windows without one, of 30 scanner-days" in verdict.words
    )


def test_one_that_says_the_same_passes() -> None:
    assert verdict_on(judgement("new"), [judgement()]).passed


def test_one_that_is_clearly_worse_is_refused_and_told_in_what() -> None:
    verdict = verdict_on(judgement("new", wrong=0.3), [judgement(wrong=0.1)])
    assert not verdict.passed and not verdict.undecided
    assert "macro-F1 0.900 -> 0.700" in verdict.words and "must not be below -0.03" in verdict.words


def test_with_sixty_scanner_days_less_may_be_lost() -> None:
    few, many = ({"days": days, "crops": 6000} for days in (59, 60))
    assert verdict_on(judgement("new", wrong=0.115, **few), [judgement(**few)]).passed
    verdict = verdict_on(judgement("new", wrong=0.115, **many), [judgement(**many)])
    assert not verdict.passed and "must not be below -0.01" in verdict.words


def test_one_common_class_that_loses_six_points_shuts_the_gate_whatever_the_mean() -> None:
    verdict = verdict_on(judgement("new", wrong=(0.0, 0.2, 0.0)), [judgement(wrong=(0.0, 0.05, 0.4))])
    macro = verdict.figures["comparison"]["macro_f1"]
    assert macro["candidate"] > macro["rival"] + 0.05
    assert not verdict.passed and "F1 of Collembola 0.974 -> 0.889, of which there are 200" in verdict.words


@pytest.mark.parametrize(("examples", "told"), [(19, False), (20, True)])
def test_a_class_counts_by_itself_from_twenty_examples_on(examples: int, told: bool) -> None:
    truth = ["Acari"] * 500 + ["background"] * 500 + ["Collembola"] * examples
    verdict = verdict_on(
        judgement("new", wrong=(0.0, 0.3, 0.0), truth=truth), [judgement(wrong=(0.0, 0.0, 0.1), truth=truth)]
    )
    assert ("F1 of Collembola" in verdict.words) is told


def test_embeddings_that_have_collapsed_are_refused() -> None:
    assert verdict_on(judgement("new", rank=32.0), [judgement(rank=40.0)]).passed
    verdict = verdict_on(judgement("new", rank=31.9), [judgement(rank=40.0)])
    assert not verdict.passed and "effective rank" in verdict.words and "collapses" in verdict.words
    assert not verdict_on(judgement("new", rank=float("nan")), [judgement(rank=40.0)]).passed


def test_probabilities_and_sets_are_judged_from_five_hundred_crops_on() -> None:
    sure = {"confidence": 0.99, "wrong": 0.1}
    assert verdict_on(judgement("new", crops=498, **sure), [judgement(crops=498)]).passed
    verdict = verdict_on(judgement("new", crops=600, **sure), [judgement(crops=600)])
    assert not verdict.passed and "expected calibration error 0.090, above 0.05" in verdict.words
    verdict = verdict_on(judgement("new", covered=0.92), [judgement()])
    assert not verdict.passed and "its sets hold the truth in 0.920 of the cases, fewer than 0.930" in verdict.words


def test_a_larger_alpha_than_that_in_use_is_for_a_person_to_force() -> None:
    strict, lax = judgement("strict", alpha=0.01), judgement("lax", alpha=0.05)
    verdict = verdict_on(lax, [strict], present=Bundle("strict", "c1"))
    assert not verdict.passed and not verdict.undecided
    assert "its alpha is 0.05, not 0.01. Train one with --alpha 0.01" in verdict.words
    assert verdict.figures["candidate"]["alpha"] == 0.05 and verdict.figures["rival"]["alpha"] == 0.01
    better = judgement("strict", alpha=0.01, covered=1.0)
    assert verdict_on(better, [lax], present=Bundle("lax", "c1")).passed
    other = judgement("in use", alpha=0.05)
    assert verdict_on(lax, [strict, other], present=Bundle("in use", "c1")).passed, "what was in use once binds nobody"


def test_only_crops_as_they_come_speak_of_calibration() -> None:
    record = judgement(crops=600)
    chosen = record.crops.model_copy(update={"as_it_comes": (False,) * 200 + (True,) * 400})
    figures = calibration_of(record.model_copy(update={"crops": chosen}), SOIL)
    assert figures["crops"] == 400 and not figures["judged"]


def test_too_few_labels_decide_nothing_and_the_words_say_what_is_missing() -> None:
    verdict = verdict_on(judgement("new", crops=45, days=4), [judgement(crops=45, days=4)])
    assert not verdict.passed and verdict.undecided
    assert "30 of 50 labelled animals (there are 30 animals and 15 windows without one)" in verdict.words
    assert "4 of 10 scanner-days with an animal" in verdict.words
    assert "soilpipe label draw" in verdict.words
    one = verdict_on(judgement("new", truth=["Acari"] * 600), [judgement(truth=["Acari"] * 600)])
    assert one.undecided and "1 of 2 taxa" in one.words, "there is nothing to tell it from"


def test_windows_that_the_program_draws_are_no_labels() -> None:
    """Five mites, each of another day, and 45 empty tiles of ten days."""
    truth = ["Acari" if row % 11 == 0 else "background" for row in range(50)]
    few = {"truth": truth, "days": 10, "wrong": 0.0}
    verdict = verdict_on(judgement("new", **few), [judgement(**few)])
    assert not verdict.passed and verdict.undecided
    assert "5 of 50 labelled animals (there are 5 animals and 45 windows without one)" in verdict.words
    assert "5 of 10 scanner-days with an animal" in verdict.words
    assert "1 of 2 taxa with 5 animals or more" in verdict.words
    figures = verdict.figures["comparison"]
    assert (figures["animals"], figures["windows"]) == (5, 45)
    assert lead(judgement("new", **few), judgement(**few), SOIL) is None


def test_one_taxon_is_enough_when_it_is_common() -> None:
    mites, ground = ["Acari", "background"] * 60, ["background"] * 40
    assert verdict_on(judgement("new", truth=mites + ground), [judgement(truth=mites + ground)]).passed
    rare = [f"Kind {row}" for row in range(60)] + ["Acari"] * 19 + ground
    verdict = verdict_on(judgement("new", truth=rare, days=10), [judgement(truth=rare, days=10)])
    assert verdict.undecided and "1 of 2 taxa with 5 animals or more (one with 20 or more will do" in verdict.words
    assert "labelled animals" not in verdict.words


def test_roots_and_other_things_are_no_animals() -> None:
    truth = ["root", "Acari"] * 40
    verdict = verdict_on(judgement("new", truth=truth, wrong=0.0), [judgement(truth=truth, wrong=0.0)])
    assert "40 of 50 labelled animals (there are 40 animals and 40 windows without one)" in verdict.words


def test_crops_that_either_was_pretrained_on_do_not_count() -> None:
    verdict = verdict_on(judgement("new", crops=90, days=12, seen=30), [judgement(crops=90, days=12)])
    assert verdict.undecided
    assert "40 of 50 labelled animals" in verdict.words and "20 more animals do not count" in verdict.words
    new, old = judgement("new", seen=99), judgement(seen=0)
    figures = compare(new, old, SOIL).figures
    assert (figures["animals"], figures["windows"]) == (334, 167)


def test_the_best_that_was_ever_in_use_is_the_measure() -> None:
    rivals = [judgement("best", wrong=0.02), judgement("last", wrong=0.2)]
    verdict = verdict_on(judgement("new", wrong=0.1), rivals)
    assert not verdict.passed and "against encoder best" in verdict.words


def test_without_anything_to_compare_with_nothing_is_decided() -> None:
    verdict = verdict_on(judgement("new"), [])
    assert not verdict.passed and verdict.undecided and "nothing that it could be compared with" in verdict.words


def test_a_taxon_that_only_one_of_them_tells_counts_against_the_other() -> None:
    truth = ["Acari", "Oribatida"] * 300
    finer = judgement("finer", truth=truth, wrong=0.0, classes=("Acari", "Oribatida"))
    coarse = finer.crops.model_copy(update={"found": ("Acari",) * 600})
    coarse_one = finer.model_copy(update={"encoder": "coarse", "crops": coarse, "classes": ("Acari",)})
    assert verdict_on(finer, [coarse_one]).passed
    assert "F1 of Oribatida 1.000 -> 0.000" in verdict_on(coarse_one, [finer]).words
    assert macro_f1(coarse_one, SOIL) == 1.0, "by itself it tells all that it knows"


FINE = ("Oribatida", "Mesostigmata", "background")


def mites(encoder: str, wrong: float, *, classes: tuple[str, ...] = FINE, animals_lost: float = 0.02) -> BundleRecord:
    """A bundle that takes a share of the mites for the other kind of mite (all for Acari, where it tells no kinds), and
    another share of them for background."""
    truth = list(FINE) * 200
    found, seen = list(truth), dict.fromkeys(FINE, 0)
    for row, name in enumerate(truth):
        if name == "background":
            continue
        seen[name] += 1
        if seen[name] <= 200 * animals_lost:
            found[row] = "background"
        elif "Acari" in classes:
            found[row] = "Acari"
        elif seen[name] <= 200 * (animals_lost + wrong):
            found[row] = FINE[1 - FINE.index(name)]
    record = judgement(encoder, truth=truth, classes=classes, confidence=0.5)
    crops = record.crops.model_copy(
        update={"found": tuple(found), "as_it_comes": (False,) * len(truth)}  # so that only what is told apart counts
    )
    return record.model_copy(update={"crops": crops})


COARSE = ("Acari", "background")


def test_a_coarse_bundle_of_old_does_not_shield_one_that_is_worse_than_the_champion() -> None:
    """By its own two classes the coarse one has the highest macro-F1 of all, and says nothing of the kinds."""
    old, champion, worse = mites("coarse", 0.0, classes=COARSE), mites("fine", 0.08), mites("new", 0.35)
    assert macro_f1(old, SOIL) > macro_f1(champion, SOIL) > macro_f1(worse, SOIL)
    for rivals in ([old, champion], [champion, old]):
        verdict = verdict_on(worse, rivals, present=Bundle("fine", "c1"))
        assert not verdict.passed and not verdict.undecided and "against encoder fine" in verdict.words
    assert verdict_on(mites("as good", 0.08), [old, champion], present=Bundle("fine", "c1")).passed


def test_the_best_of_old_counts_beside_the_one_in_use() -> None:
    best, forced = mites("best", 0.05), mites("coarse", 0.0, classes=COARSE)
    verdict = verdict_on(mites("new", 0.35), [best, forced], present=Bundle("coarse", "c1"))
    assert not verdict.passed and "against encoder best" in verdict.words
    assert verdict.figures["beside"]["rival"]["encoder"] == "coarse"
    verdict = verdict_on(mites("new", 0.05), [best, forced], present=Bundle("coarse", "c1"))
    assert verdict.passed and "against encoder best" in verdict.words and "nor against encoder coarse" in verdict.words


def test_telling_more_kinds_excuses_no_animal_that_is_lost() -> None:
    coarse = mites("coarse", 0.0, classes=COARSE)
    verdict = verdict_on(mites("finer", 0.0, animals_lost=0.3), [coarse])
    comparison = verdict.figures["comparison"]
    assert comparison["macro_f1"]["candidate"] > comparison["macro_f1"]["rival"], "the rival tells none of the kinds"
    assert not verdict.passed and "by the classes that the rival tells, F1 of Acari 0.990 -> 0.824" in verdict.words
    assert verdict_on(mites("finer", 0.1), [coarse]).passed


def test_a_finer_answer_than_the_label_is_right() -> None:
    truth = ["Acari", "background"] * 300
    rival = judgement(truth=truth, wrong=0.0, classes=COARSE)
    finer = rival.crops.model_copy(update={"found": ("Oribatida", "background") * 300})
    new = rival.model_copy(update={"encoder": "new", "crops": finer, "classes": FINE})
    assert compare(new, rival, SOIL).figures["classes"]["Acari"]["candidate"] == 1.0


def test_a_rival_that_learned_from_the_hold_out_is_left_aside_unless_it_is_in_use() -> None:
    knows, other = judgement("knows", wrong=0.0, seen=600), judgement("other", wrong=0.2)
    assert verdict_on(judgement("new", wrong=0.1), [other, knows], present=Bundle("other", "c1")).passed
    verdict = verdict_on(judgement("new", wrong=0.1), [other, knows], present=Bundle("knows", "c1"))
    assert not verdict.passed and verdict.undecided and "0 of 50 labelled animals" in verdict.words


def test_calibration_counts_the_class_that_stands_for_a_taxon() -> None:
    """A bundle that is always right by what it tells, and says so: its probabilities are no lie."""
    truth = ["Acari"] * 200 + ["Trombidiformes"] * 60 + ["stone"] * 40 + ["background"] * 300
    taxonomy = Taxonomy([*SOIL, Taxon("stone", "informal", None, background=True)])
    record = judgement("rolled", truth=truth, wrong=0.0, classes=COARSE, confidence=0.99)
    found = tuple("background" if name in ("background", "stone") else "Acari" for name in truth)
    record = record.model_copy(update={"crops": record.crops.model_copy(update={"found": found})})
    assert calibration_of(record, taxonomy)["expected_calibration_error"] == pytest.approx(0.01)
    assert verdict_on(record, [record.model_copy(update={"encoder": "same"})], taxonomy).passed
    assert macro_f1(record, taxonomy) == 1.0


def test_of_what_only_stands_in_one_judgement_nothing_is_compared() -> None:
    new = judgement("new")
    ids = tuple(f"other {row}" if row < 300 else f"scan {row}" for row in range(600))
    moved = new.model_copy(update={"crops": new.crops.model_copy(update={"ids": ids})})
    figures = compare(moved, judgement(), SOIL).figures
    assert figures["animals"] + figures["windows"] == 300


def test_the_interval_holds_the_change_of_most_repeats() -> None:
    """Two equally good bundles that err on different crops: the gate must seldom find one of them better."""
    beyond = 0
    for seed in range(40):
        one, other = (judgement(seed=2 * seed + k, wrong=0.2, crops=900) for k in (0, 1))
        low, high = compare(one, other, SOIL).figures["macro_f1"]["interval"]
        beyond += not low <= 0 <= high
    assert beyond <= 6


def test_macro_f1_is_that_of_scikit_learn_s_definition() -> None:
    record = judgement(wrong=(0.1, 0.3, 0.0), crops=300)
    scores = []
    for name in CLASSES:
        true = np.array([one == name for one in record.crops.truth])
        found = np.array([one == name for one in record.crops.found])
        precision, recall = (true & found).sum() / found.sum(), (true & found).sum() / true.sum()
        scores.append(2 * precision * recall / (precision + recall))
    assert macro_f1(record, SOIL) == pytest.approx(np.mean(scores))
