"""Who may become champion by its figures, and what is said to those who may not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe import models
from soilpipe.detect import weights
from soilpipe.evaluations import EvaluationRecord, Sampled, keep
from soilpipe.last_week import WeekCounts
from soilpipe.models import ModelError, champion, decisions, register
from soilpipe.promotion import promote
from soilpipe.store import Store
from tests.evaluation_records import NOW, record
from tests.tiny_model import make_model

BETTER = [[True, True, True, True]] * 40
WORSE = [[True, True, False, False]] * 40
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    return Store(tmp_path / "store")


@pytest.fixture
def candidate(store: Store, tmp_path: Path) -> str:
    return register(store, "detector", make_model(tmp_path / "candidate", name="candidate"))


def shipped(store: Store, found: Any = None, **changes: Any) -> None:
    keep(store, record(models.content_of(store, "detector", "shipped"), found, **changes))


def sampled(tiles: int, left_out: int, hold_out: int, fit: int | None = None) -> Sampled:
    return Sampled(
        tiles=tiles,
        left_out=left_out,
        hold_out=hold_out,
        hold_out_fit=hold_out if fit is None else fit,
        unfamiliar_from=None,
        sha256="1" * 64,
    )


def refused(store: Store, version: str) -> str:
    """What is said when it is not promoted; nothing is decided then."""
    before = decisions(store, "detector")
    with pytest.raises(ModelError) as told:
        promote(store, "detector", version, "", False, NOW)
    assert decisions(store, "detector") == before
    return str(told.value)


def test_one_that_is_no_worse_on_the_same_labels_is_promoted_without_force(store: Store, candidate: str) -> None:
    shipped(store)
    keep(store, record(candidate, BETTER))
    decision = promote(store, "detector", candidate, "", False, NOW)
    assert not decision.forced and champion(store) == candidate
    assert decision.figures["comparison"]["ap50"]["interval"][0] >= 0
    assert decision.figures["candidate"]["figures"]["ap50"] == 1.0
    assert decision.figures["verdict"].startswith("AP50 0.752 -> 1.000 against model ")
    assert decisions(store, "detector") == [decision], "figures and all come back from the record"


def test_one_that_is_worse_is_told_in_what(store: Store, candidate: str) -> None:
    shipped(store)
    keep(store, record(candidate, WORSE))
    words = refused(store, candidate)
    assert "it is worse in this: AP50 0.752 -> 0.505" in words and "recall of Collembola" in words
    assert "--force with a --reason" in words


def test_without_an_evaluation_of_its_own_or_of_the_champions_there_is_no_comparison(
    store: Store, candidate: str
) -> None:
    assert f"soilpipe evaluate detector --version {candidate}" in refused(store, candidate)
    keep(store, record(candidate, BETTER))
    assert "the champion shipped was not evaluated on the same labels" in refused(store, candidate)
    shipped(store, labels_sha256="2" * 64)
    assert "the champion shipped was not evaluated on the same labels" in refused(store, candidate)
    shipped(store, evaluated_at=NOW + HOUR)
    assert promote(store, "detector", candidate, "", False, NOW).version == candidate


def test_a_champion_that_was_trained_on_the_tiles_is_no_measure(store: Store, candidate: str) -> None:
    few = Sampled(tiles=40, left_out=15, hold_out=40, hold_out_fit=25, unfamiliar_from=NOW, sha256="1" * 64)
    shipped(store, images=25, sampled=few)
    keep(store, record(candidate, BETTER))
    words = refused(store, candidate)
    assert "the champion shipped cannot be compared with: the hold-out has 40 random tiles" in words
    assert "15 of them of no use: it, or one that it began from, was trained on them or on scans within 72 h" in words
    assert "5 more are needed (of scans taken after 2024-05-01, or of a scanner that it was not trained on)" in words


def test_the_best_ever_promoted_is_the_measure_and_not_only_the_present_one(store: Store, tmp_path: Path) -> None:
    best, poor, new = (register(store, "detector", make_model(tmp_path / name, name=name)) for name in "abc")
    shipped(store)
    keep(store, record(best, BETTER))
    keep(store, record(poor, WORSE))
    keep(store, record(new))
    promote(store, "detector", best, "", False, NOW)
    promote(store, "detector", poor, "the best one stumbles over roots", True, NOW + HOUR)
    words = refused(store, new)
    assert f"against model {best}" in words, "better than the present champion, and worse than the one before"


def test_two_that_are_familiar_with_different_tiles_are_compared_on_those_that_neither_is(
    store: Store, candidate: str
) -> None:
    """The rival has found little on the four that only it was judged on, and the candidate nothing on its own four."""
    whole = sampled(40, 4, 40, 36)
    shipped(store, [[True, False, False, False]] * 4 + [[True] * 4] * 36, sampled=whole)
    ours = record(candidate, [[True] * 4] * 36 + [[False] * 4] * 4, sampled=whole)
    keep(store, with_tiles(ours, range(4, 44)))
    decision = promote(store, "detector", candidate, "", False, NOW)
    assert decision.figures["verdict"].startswith("AP50 1.000 -> 1.000 against model ")
    assert "on 36 held-out tiles" in decision.figures["verdict"]


def test_too_few_tiles_that_neither_is_familiar_with_are_told(store: Store, candidate: str) -> None:
    whole = sampled(60, 20, 60, 40)
    shipped(store, sampled=whole)
    keep(store, with_tiles(record(candidate, BETTER, sampled=whole), range(20, 60)))
    words = refused(store, candidate)
    assert "it stays a candidate" in words and "20 of 30 tiles" in words
    assert "are within 72 h of it: 20 for the candidate and 20 for its rival" in words


def with_tiles(one: EvaluationRecord, numbers: range) -> EvaluationRecord:
    """The same evaluation, of the tiles with these numbers."""
    images = [
        image.model_copy(update={"name": f"tile-{n:03}"}) for image, n in zip(one.matches.images, numbers, strict=True)
    ]
    return one.model_copy(update={"matches": one.matches.model_copy(update={"images": tuple(images)})})


def test_too_few_labels_leave_it_a_candidate_and_say_what_is_missing(store: Store, candidate: str) -> None:
    few: dict[str, Any] = {"images": 40, "days": 4}
    shipped(store, **few)
    keep(store, record(candidate, BETTER, **few))
    words = refused(store, candidate)
    assert "it stays a candidate" in words and "4 of 10 scanner-days" in words and "soilpipe label draw" in words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sample": "file"}, "without --labels"),
        (
            {"sample": "random", "sampled": sampled(40, 0, 8)},
            "8 random tiles that somebody has looked at; to decide on",
        ),
        (
            {"images": 29},
            "the hold-out has 29 random tiles that somebody has looked at; to decide on a promotion 1 more",
        ),
        ({"sample": "random", "trained_on": 7, "sampled": sampled(40, 0, 40, 0)}, "40 of them of no use"),
        ({"sampled": None}, "of an earlier release, which did not look for neighbours in time"),
        ({"as_used": False}, "not evaluated as runs use it"),
        ({"algorithm_version": "0"}, "of an earlier release"),
    ],
)
def test_an_evaluation_that_is_no_basis_is_told_as_such(
    store: Store, candidate: str, changes: dict[str, Any], told: str
) -> None:
    shipped(store)
    keep(store, record(candidate, BETTER[: changes.get("images", 40)], **changes))
    assert told in refused(store, candidate)


def test_forcing_needs_a_reason_and_keeps_the_verdict(store: Store, candidate: str) -> None:
    shipped(store)
    keep(store, record(candidate, WORSE))
    with pytest.raises(ModelError, match="needs a reason"):
        promote(store, "detector", candidate, " ", True, NOW)
    decision = promote(store, "detector", candidate, "it finds the mites", True, NOW)
    assert decision.forced and decision.reason == "it finds the mites"
    assert "it is worse in this" in decision.figures["verdict"]


def test_force_where_the_gate_is_open_is_no_forced_decision(store: Store, candidate: str) -> None:
    shipped(store)
    keep(store, record(candidate, BETTER))
    assert not promote(store, "detector", candidate, "it is better", True, NOW).forced


def test_a_champion_that_came_meanwhile_was_not_what_it_was_judged_against(store: Store, candidate: str) -> None:
    """Judging takes minutes: another machine may have decided since."""
    shipped(store)
    keep(store, record(candidate, BETTER))

    def takes_long(_candidate: str, _champion: str) -> WeekCounts:
        models.decide(store, "detector", "promote", "theirs", "shipped", NOW, True, "a person's", {})
        return WeekCounts(scans=28, skipped=0, candidate={}, champion={})

    with pytest.raises(ModelError, match="meanwhile another decision"):
        promote(store, "detector", candidate, "", False, NOW, last_week=takes_long)
    assert [decision.version for decision in decisions(store, "detector")] == ["theirs"]
