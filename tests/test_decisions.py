"""Encoder and classifier: in use as one bundle, promoted by one record, taken back by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.counts.verify_records import record_problems
from soilpipe.decisions import NONE, champion, decide, decisions, in_use, known, rollback
from soilpipe.models import ModelError, list_models, resolve
from soilpipe.store import Store

NOW = datetime(2024, 3, 6, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Promotions:
    """Records written by hand, an hour apart: what is in use does not depend on what the versions are worth."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, NOW

    def bundle(self, encoder: str, classifier: str | None) -> None:
        self.now += timedelta(hours=1)
        together = {} if classifier is None else {"classifier": classifier}
        decide(self.store, "encoder", "promote", encoder, NONE, self.now, False, "", {}, together=together)

    def classifier(self, version: str) -> None:
        self.now += timedelta(hours=1)
        decide(self.store, "classifier", "promote", version, NONE, self.now, False, "", {})

    def back(self, role: str) -> None:
        self.now += timedelta(hours=1)
        rollback(self.store, role, "", self.now)

    @property
    def both(self) -> tuple[str | None, str | None]:
        return in_use(self.store, "encoder"), in_use(self.store, "classifier")


@pytest.mark.parametrize("role", ["encoder", "classifier"])
def test_a_role_without_any_version_says_so(store: Store, role: str) -> None:
    assert in_use(store, role) is None and list_models(store, role) == []
    with pytest.raises(ModelError, match=f"no {role} is in use in this project"):
        champion(store, role)
    with pytest.raises(ModelError, match=f"there is no {role} in this store yet"):
        resolve(store, role, "shipped")
    with pytest.raises(ModelError, match="nothing to take back"):
        rollback(store, role, "", NOW)


@pytest.mark.parametrize("role", ["encoder", "classifier"])
def test_one_roll_back_takes_both_back(store: Store, role: str) -> None:
    promotions = Promotions(store)
    promotions.bundle("e1", "c1")
    promotions.bundle("e2", "c2")
    assert promotions.both == ("e2", "c2")
    promotions.back(role)
    assert promotions.both == ("e1", "c1")
    promotions.back(role)
    assert promotions.both == (None, None)
    assert len(decisions(store, "encoder")) == len(decisions(store, "classifier")) == 4
    assert decisions(store, "detector") == []


def test_a_new_classifier_on_the_same_encoder_is_taken_back_alone(store: Store) -> None:
    promotions = Promotions(store)
    promotions.bundle("e1", "c1")
    promotions.bundle("e1", "c2")
    promotions.back("classifier")
    assert promotions.both == ("e1", "c1")


def test_taking_back_the_encoder_takes_every_classifier_on_it(store: Store) -> None:
    promotions = Promotions(store)
    promotions.bundle("e1", "c1")
    promotions.bundle("e2", "c2")
    promotions.bundle("e2", "c3")
    promotions.back("encoder")
    assert promotions.both == ("e1", "c1")


def test_a_classifier_on_the_detectors_trunk_leaves_no_encoder_in_use(store: Store) -> None:
    promotions = Promotions(store)
    promotions.bundle("e1", "c1")
    promotions.classifier("c0")
    assert promotions.both == (None, "c0")
    promotions.back("classifier")
    assert promotions.both == ("e1", "c1")


def test_an_encoder_alone_leaves_no_classifier_of_another_one_in_use(store: Store) -> None:
    promotions = Promotions(store)
    promotions.bundle("e1", "c1")
    promotions.bundle("e2", None)
    assert promotions.both == ("e2", None)


def test_a_flipped_bit_of_a_promotion_is_found(store: Store) -> None:
    decide(store, "detector", "promote", "abc", "shipped", NOW, False, "", {})
    (key,) = store.keys("records/promotions")
    whole = store.read_bytes(key)
    assert list(record_problems(store)) == []
    store.write_bytes(key, whole.replace(b"abc", b"abb"))
    assert champion(store, "detector") == "abb", "which no reader could tell"
    assert [problem.key for problem in record_problems(store)] == [key]


def test_of_two_machines_that_decide_at_once_one_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that nothing was decided yet; the other one writes between our look and our record."""
    seen = known(store, "detector")
    real = store.create_bytes

    def another_first(key: str, data: bytes) -> bool:
        monkeypatch.undo()
        decide(store, "detector", "promote", "theirs", "shipped", NOW, False, "", {})
        return real(key, data)

    monkeypatch.setattr(store, "create_bytes", another_first)
    with pytest.raises(ModelError, match="meanwhile another decision on the detector in use was made"):
        decide(store, "detector", "promote", "ours", "shipped", NOW, False, "", {}, seen=seen)
    assert champion(store) == "theirs" and len(decisions(store, "detector")) == 1


def test_a_verdict_on_what_is_no_longer_in_use_decides_nothing(store: Store) -> None:
    seen = known(store, "classifier")
    decide(store, "encoder", "promote", "e1", NONE, NOW, False, "", {}, together={"classifier": "c1"})
    with pytest.raises(ModelError, match="judged against what is no longer in use"):
        decide(store, "classifier", "promote", "c2", NONE, NOW, False, "", {}, seen=seen)
    assert (in_use(store, "encoder"), in_use(store, "classifier")) == ("e1", "c1")
    decide(store, "detector", "promote", "d1", "shipped", NOW, False, "", {}, seen=0)  # of another line
    assert champion(store) == "d1"


def test_decisions_under_the_names_of_earlier_releases_count(store: Store) -> None:
    decide(store, "detector", "promote", "d1", "shipped", NOW, False, "", {})
    (key,) = store.keys("records/promotions")
    store.write_bytes("records/promotions/20240306T000000000000Z-detector-d1.json", store.read_bytes(key))
    store.delete(key)
    decide(store, "detector", "promote", "d2", "d1", NOW, False, "", {})
    assert champion(store) == "d2" and [d.sequence for d in decisions(store, "detector")] == [0, 1]
    assert rollback(store, "detector", "", NOW).version == "d1"
