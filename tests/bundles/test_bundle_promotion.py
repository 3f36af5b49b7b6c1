"""Putting an encoder and its classifier to use: as one, by their figures, and never mixed with others."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.bundles.promotion import (
    Bundle,
    bundle_in_use,
    bundle_of,
    check_usable,
    classifiers_on,
    ever_promoted,
    promote_bundle,
)
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.weights import save_classifier
from soilpipe.decisions import Verdict, decisions, in_use, rollback
from soilpipe.detect import weights
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.weights import save_encoder
from soilpipe.encoders import encoder_at, encoder_to_begin_from, trunk_in_use
from soilpipe.models import ModelError, card_of, content_of, list_models, register, resolve
from soilpipe.promotion import promote
from soilpipe.roles import encoder_of
from soilpipe.store import Store
from soilpipe.taxonomy import SOIL
from tests.classify.made_crops import made_crops
from tests.tiny_model import make_model

NOW = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD = Verdict(True, "no worse", {"macro": 1.0})
BAD = Verdict(False, "it is worse in this: macro-F1", {})
FEW = Verdict(False, "it stays a candidate, because there are too few labels", {}, True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    return Store(tmp_path / "store")


@pytest.fixture
def make_bundle(store: Store, tmp_path: Path) -> Callable[..., Bundle]:
    """Registers an encoder of the seed and a classifier on it, or on the one that is named."""

    def make(seed: int = 0, on: str | None = None) -> Bundle:
        if on is None:
            torch.manual_seed(seed)
            network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
            save_encoder(tmp_path / f"e{seed}", network, {"name": f"encoder {seed}", "um_per_px": 21.17})
            on = register(store, "encoder", tmp_path / f"e{seed}")
        crops = made_crops({"Oribatida": 6, "Symphyla": 6, "background": 6}, ("A", "B"), seed=seed)
        fitted = fit_classifier(crops, taxonomy=SOIL, alpha=0.05)
        card = {"name": f"classifier {seed}", "alpha": 0.05, "validation": "none", "encoder": on, **fitted.told}
        save_classifier(tmp_path / f"c{seed}", fitted.classifier, card)
        return Bundle(on, register(store, "classifier", tmp_path / f"c{seed}"))

    return make


def test_what_passes_is_put_to_use_as_one_and_taken_back_as_one(
    store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    first, second = make_bundle(1), make_bundle(2)
    promote_bundle(store, first, GOOD, NOW)
    decision = promote_bundle(store, second, GOOD, NOW + HOUR)
    assert (decision.version, decision.previous) == (second.encoder, first.encoder)
    assert bundle_in_use(store) == second and ever_promoted(store) == [first, second]
    assert decision.figures == {"macro": 1.0, "verdict": "no worse"} and not decision.forced
    with pytest.raises(ModelError, match="in use already"):
        promote_bundle(store, second, GOOD, NOW + HOUR)
    rollback(store, "encoder", "mites", NOW + 2 * HOUR)
    assert bundle_in_use(store) == first
    assert {model.version: model.champion for model in list_models(store, "encoder")}[first.encoder]


def test_what_does_not_pass_stays_a_candidate_unless_forced_with_a_reason(
    store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    bundle = make_bundle()
    for verdict in (BAD, FEW):
        with pytest.raises(ModelError, match=r"is not promoted: it .*--force with a --reason"):
            promote_bundle(store, bundle, verdict, NOW)
    with pytest.raises(ModelError, match="needs a reason"):
        promote_bundle(store, bundle, BAD, NOW, reason=" ", force=True)
    assert bundle_in_use(store) is None and decisions(store, "encoder") == []
    decision = promote_bundle(store, bundle, BAD, NOW, reason="it tells the mites", force=True)
    assert decision.forced and decision.figures["verdict"] == BAD.words
    with pytest.raises(ModelError, match="promoted as one"):
        promote(store, "encoder", bundle.encoder, "", True, NOW)


def test_a_classifier_of_another_encoder_is_refused(store: Store, make_bundle: Callable[..., Bundle]) -> None:
    first, second = make_bundle(1), make_bundle(2)
    with pytest.raises(ModelError, match="fitted on the embeddings of encoder"):
        promote_bundle(store, Bundle(first.encoder, second.classifier), GOOD, NOW)
    promote_bundle(store, first, GOOD, NOW)
    with pytest.raises(ModelError, match=f"stands on encoder {second.encoder}, and in use is {first.encoder}"):
        check_usable(store, card_of(store, "classifier", second.classifier), second.classifier)
    check_usable(store, card_of(store, "classifier", first.classifier), first.classifier)
    with pytest.raises(ModelError, match="does not name its encoder"):
        encoder_of({}, "c")


def test_a_new_classifier_on_the_encoder_in_use_is_promoted_and_taken_back_by_itself(
    store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    first = make_bundle(1)
    more = make_bundle(3, on=first.encoder)
    assert sorted(classifiers_on(store, first.encoder)) == sorted([first.classifier, more.classifier])
    promote_bundle(store, first, GOOD, NOW)
    promote_bundle(store, more, GOOD, NOW + HOUR)
    assert bundle_in_use(store) == more
    rollback(store, "classifier", "", NOW + 2 * HOUR)
    assert bundle_in_use(store) == first


def test_a_classifier_may_stand_on_the_trunk_of_a_detector(store: Store, make_bundle: Callable[..., Bundle]) -> None:
    trunk = trunk_in_use(store)
    assert trunk == f"detector:{content_of(store, 'detector', 'shipped')}"
    assert encoder_at(store, trunk, "cpu").info.version == trunk
    bundle = make_bundle(1, on=trunk)
    promote_bundle(store, bundle, GOOD, NOW)
    assert bundle_in_use(store) == bundle == bundle_of(store, bundle.classifier)
    assert in_use(store, "encoder") is None
    check_usable(store, card_of(store, "classifier", bundle.classifier), bundle.classifier)
    gone = make_bundle(2, on="detector:0123456789ab")
    with pytest.raises(ModelError, match="no detector of this store has version 0123456789ab"):
        promote_bundle(store, gone, GOOD, NOW)


def test_a_bundle_whose_files_are_gone_is_no_measure(store: Store, make_bundle: Callable[..., Bundle]) -> None:
    first, second = make_bundle(1), make_bundle(2)
    promote_bundle(store, first, GOOD, NOW)
    promote_bundle(store, second, GOOD, NOW + HOUR)
    store.delete(f"models/encoder/{first.encoder}/weights.safetensors")
    assert ever_promoted(store) == [second]


def test_a_refresh_begins_from_what_is_in_use_then_from_the_last_candidate_then_from_the_detector(
    store: Store, make_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    assert encoder_to_begin_from(store, None) == trunk_in_use(store)
    first, second = make_bundle(1), make_bundle(2)
    assert encoder_to_begin_from(store, second.encoder) == second.encoder
    promote_bundle(store, first, GOOD, NOW)
    assert encoder_to_begin_from(store, second.encoder) == first.encoder
    torch.manual_seed(0)
    wide = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 16), pyramid=8).eval()
    save_encoder(tmp_path / "wide", wide, {"name": "wide", "um_per_px": 21.17})
    other = Bundle(register(store, "encoder", tmp_path / "wide"), make_bundle(3).classifier)
    other = make_bundle(4, on=other.encoder)
    promote_bundle(store, other, GOOD, NOW + HOUR)
    assert encoder_to_begin_from(store, None) == trunk_in_use(store), "the detector in use could not take it"


def test_the_detector_of_the_project_file_is_the_one_whose_trunk_is_begun_from(store: Store, tmp_path: Path) -> None:
    make_model(tmp_path / "own", name="own")
    own = register(store, "detector", tmp_path / "own")
    shipped = trunk_in_use(store)
    assert trunk_in_use(store, own) == trunk_in_use(store, "own") == f"detector:{content_of(store, 'detector', own)}"
    assert trunk_in_use(store, own) != shipped
    assert encoder_to_begin_from(store, None, own) == trunk_in_use(store, own)
    make_model(tmp_path / "evened", name="evened", contrast="local")
    evened = register(store, "detector", tmp_path / "evened")
    small = CentrePointNetwork(2, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    save_encoder(tmp_path / "small", small, {"name": "small", "um_per_px": 21.17})
    encoder = register(store, "encoder", tmp_path / "small")
    assert encoder_to_begin_from(store, encoder, evened) == encoder, "the detector in use could take it"
    for other in (evened, "champion", "change", "torchvision:fasterrcnn_resnet50_fpn_v2"):
        assert trunk_in_use(store, other) == shipped
    with pytest.raises(ModelError, match="0123456789ab"):
        trunk_in_use(store, "0123456789ab")


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """What `soilpipe models` says in a project with this store, or why it refuses."""
    file = tmp_path / "soilpipe.yaml"
    file.write_text(
        "project: casca\nstore: ./store\ntimezone: UTC\nsites: [{id: wood}]\n"
        "scanners: [{id: A20, site: wood, inbox: ./in}]\n"
    )

    def command(*words: str) -> str:
        result = CliRunner().invoke(app, ["models", *words, "--project", str(file)])
        return result.output if result.exit_code == 0 else str(result.exception)

    return command


def test_the_command_that_takes_an_encoder_back_takes_its_classifier_back_too(
    store: Store, make_bundle: Callable[..., Bundle], said: Callable[..., str]
) -> None:
    first, second = make_bundle(1), make_bundle(2)
    promote_bundle(store, first, GOOD, NOW)
    promote_bundle(store, second, GOOD, NOW + HOUR)
    told = said("rollback", "--role", "encoder", "--reason", "it loses mites")
    assert f"{first.encoder} is back in place of {second.encoder}, from the next scan on." in told
    assert f"In use now: encoder {first.encoder}, classifier {first.classifier}." in told
    assert bundle_in_use(store) == first and decisions(store, "encoder")[-1].reason == "it loses mites"
    record = json.loads(said("rollback", "--role", "encoder", "--json"))
    assert (record["action"], record["version"], record["previous"]) == ("rollback", "none", first.encoder)
    assert bundle_in_use(store) is None and in_use(store, "encoder") is None
    assert "no encoder is in use, so there is nothing to take back" in said("rollback", "--role", "encoder")


def test_the_commands_take_roles(store: Store, make_bundle: Callable[..., Bundle], said: Callable[..., str]) -> None:
    assert "There is none yet; `soilpipe refresh` makes one." in said("list", "--role", "encoder")
    assert json.loads(said("list", "--role", "classifier", "--json")) == []
    bundle, other = make_bundle(1), make_bundle(2, on=resolve(store, "encoder", make_bundle(1).encoder))
    assert bundle.encoder in said("list", "--role", "encoder")
    assert "never by a refresh" in said("show", bundle.encoder[:6], "--role", "encoder")
    assert "Say --with which" in said("promote", bundle.encoder, "--role", "encoder")
    asked = ("promote", bundle.encoder, "--role", "encoder", "--with", other.classifier)
    assert "no labelled tile yet" in said(*asked) and bundle_in_use(store) is None
    told = said(*asked, "--force", "--reason", "a first one")
    assert f"In use with it: classifier {other.classifier}" in told and bundle_in_use(store) == other
    assert "in use" in said("show", other.classifier, "--role", "classifier")
    told = said("rollback", "--role", "classifier")
    assert "is back in place of" in told and "In use now: encoder none, classifier none." in told
    assert bundle_in_use(store) is None
    stranger = make_bundle(5)
    assert "in use is none" in said("promote", stranger.classifier, "--role", "classifier")
