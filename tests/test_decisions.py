"""Encoder and classifier: in use as one bundle, promoted by one record, taken back by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.counts.verify_records import record_problems
from soilpipe.decisions import NONE, champion, decide, decisions, in_use, rollback
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
