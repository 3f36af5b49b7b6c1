"""Models of old refreshes that nothing needs are removed; what anything names stays, and so does every record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.analyses import Analysis, write_analysis
from soilpipe.bundles.promotion import Bundle, promote_bundle
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.weights import save_classifier
from soilpipe.decisions import Verdict, rollback
from soilpipe.detect import weights
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.weights import save_encoder
from soilpipe.lineage import line_of
from soilpipe.models import list_models, model_path, register
from soilpipe.refresh.begin import _last_candidate
from soilpipe.refresh.pictures import picture_key
from soilpipe.refresh.records import DROPPED, DroppedRefresh, RefreshRecord, keep_record, refreshes
from soilpipe.refresh.upkeep import CANDIDATES, remove_old_candidates, tidied
from soilpipe.store import Store
from soilpipe.taxonomy import SOIL
from tests.classify.made_crops import made_crops
from tests.refresh.refresh_project import NOW
from tests.tiny_model import make_model

WEEK = timedelta(days=7)
GOOD = Verdict(True, "no worse", {})


@pytest.fixture(scope="module")
def fitted() -> Any:
    crops = made_crops({"Oribatida": 6, "Symphyla": 6}, ("A", "B"))
    return fit_classifier(crops, taxonomy=SOIL, alpha=0.05).classifier


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped"))
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store, tmp_path: Path, fitted: Any) -> Callable[..., list[Bundle]]:
    """Bundles of so many weekly refreshes, each begun from the one before, with their records."""

    def encoder(week: int, begun_from: str) -> str:
        torch.manual_seed(week)
        network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
        card = {"name": "casca", "um_per_px": 21.17, "begun_from": begun_from, "manifest_hash": f"m{week}"}
        save_encoder(tmp_path / f"e{week}", network, card)
        version = register(store, "encoder", tmp_path / f"e{week}")
        store.write_bytes(picture_key(version), b"curves")
        return version

    def make(weeks: int) -> list[Bundle]:
        bundles: list[Bundle] = []
        for week in range(weeks):
            before = bundles[-1].encoder if bundles else "detector:0"
            own = encoder(week, before)
            bundles.append(Bundle(own, classifier(store, tmp_path / f"c{week}", fitted, own)))
            record = RefreshRecord(
                run_id=f"run-{week:02}",
                begun_at=NOW + week * WEEK,
                ended_at=NOW + week * WEEK,
                since=None,
                until=NOW + week * WEEK,
                begun_from=before,
                encoder=own,
                classifier=bundles[-1].classifier,
                outcome="candidate",
                words="too few labels",
                figures={},
                corpus={"manifest": f"m{week}"},
                training={},
            )
            keep_record(store, record)
        return bundles

    return make


def classifier(store: Store, folder: Path, fitted: Any, encoder: str) -> str:
    card = {"name": folder.name, "alpha": 0.05, "validation": "none", "encoder": encoder}
    save_classifier(folder, replace(fitted, card=card), card)
    return register(store, "classifier", folder)


def there(store: Store, role: str) -> set[str]:
    return {model.version for model in list_models(store, role)}


def test_the_last_ones_stay_and_older_ones_go_with_all_their_files(
    store: Store, made: Callable[..., list[Bundle]]
) -> None:
    bundles = made(CANDIDATES + 3)
    before = store.keys("records")
    removed = remove_old_candidates(store)
    old, last = bundles[:3], bundles[3:]
    assert set(removed) == {("encoder", b.encoder) for b in old} | {("classifier", b.classifier) for b in old}
    assert there(store, "encoder") == {bundle.encoder for bundle in last}
    assert there(store, "classifier") == {bundle.classifier for bundle in last}
    assert not store.keys(f"models/encoder/{old[0].encoder}"), "its picture too"
    assert store.keys("records") == before and len(refreshes(store)) == CANDIDATES + 3
    assert remove_old_candidates(store) == [] and tidied(store) == ""
    # What they were pretrained on is still known, so that no scan of it judges their descendants.
    line = list(line_of(store, bundles[-1].encoder))
    assert [manifest for _, manifest in line] == [f"m{week}" for week in reversed(range(CANDIDATES + 3))]


def test_what_was_ever_in_use_or_is_named_by_an_analysis_or_stood_on_stays(
    store: Store, made: Callable[..., list[Bundle]], tmp_path: Path, fitted: Any
) -> None:
    bundles = made(6)
    promoted, taken_back, named, stood_on = bundles[:4]
    promote_bundle(store, promoted, GOOD, NOW)
    promote_bundle(store, taken_back, GOOD, NOW + WEEK)
    rollback(store, "encoder", "worse after all", NOW + 2 * WEEK)
    analysis = Analysis(
        detector="1", detector_name="d", threshold=0.3, taxa=("Acari",), validation="none", reference_lags_h=(6.0,),
        algorithm_version="1", settings={"classifier": {"version": named.classifier, "encoder": named.encoder}},
    )  # fmt: skip
    write_analysis(store, analysis)
    own = classifier(store, tmp_path / "own", fitted, stood_on.encoder)  # a person's, on an old candidate
    removed = remove_old_candidates(store, candidates=1)
    assert set(removed) == {
        ("classifier", stood_on.classifier), ("encoder", bundles[4].encoder), ("classifier", bundles[4].classifier)
    }  # fmt: skip
    for bundle in (promoted, taken_back, named, bundles[5]):
        model_path(store, "encoder", bundle.encoder)
        model_path(store, "classifier", bundle.classifier)
    assert own in there(store, "classifier") and stood_on.encoder in there(store, "encoder")


def test_killed_in_between_the_rest_goes_the_next_time(
    store: Store, made: Callable[..., list[Bundle]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = made(3)
    deleted: list[str] = []

    def one_only(key: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(key)
        Store.delete(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(store, "delete", one_only)
        with pytest.raises(KeyboardInterrupt):
            remove_old_candidates(store, candidates=2)
    assert deleted == [f"models/encoder/{bundles[0].encoder}/card.json"], "without a card it is not there"
    assert bundles[0].encoder not in there(store, "encoder")
    remove_old_candidates(store, candidates=2)
    assert not store.keys(f"models/encoder/{bundles[0].encoder}") + store.keys(
        f"models/classifier/{bundles[0].classifier}"
    )


def test_where_an_analysis_cannot_be_read_nothing_is_removed(store: Store, made: Callable[..., list[Bundle]]) -> None:
    made(CANDIDATES + 1)
    store.write_bytes("analyses/0123456789abcdef.json", b"{}")
    before = store.keys("models")
    assert "old candidates stay, for analyses/0123456789abcdef.json" in tidied(store)
    assert store.keys("models") == before


def test_the_last_one_that_nothing_spoke_against_stays_and_what_was_given_up_goes(
    store: Store, made: Callable[..., list[Bundle]]
) -> None:
    bundles = made(4)
    for record in refreshes(store)[1:]:
        keep_record(store, record.model_copy(update={"outcome": "refused"}))
    given_up = DroppedRefresh(
        run_id="x", begun_at=NOW, dropped_at=NOW, step="judge", reason="", encoder=bundles[2].encoder, read_until={}
    )
    DROPPED.add(store, "x", given_up)
    remove_old_candidates(store, candidates=1)
    assert there(store, "encoder") == {bundles[0].encoder, bundles[3].encoder}, "the next one begins from the first"
    assert _last_candidate(store, refreshes(store)) == bundles[0].encoder
