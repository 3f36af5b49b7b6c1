"""A second stage for a detector that was just trained: made of the same samples, and kept where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.on_samples import judge_of, margin
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.second_stage.examples import examples_of
from soilpipe.detect.second_stage.looking import FROM, SECOND
from soilpipe.detect.second_stage.network import ANSWERS, SecondStage
from soilpipe.detect.second_stage.training import DRAWN_MORE_OFTEN, SecondRecipe, train_second
from soilpipe.detect.validation import look
from soilpipe.detect.weight_ensemble import SHARE, Known, known_rows, share_that_pays
from soilpipe.detect.weights import load_detector

CANDIDATES_FROM = 0.1  # score of the first stage from which the second looks once more
ENOUGH = 50  # candidates on labelled animals, from which one is trained
WARM_RATE = 0.25  # of the learning rate, for one that goes on
TOLD = "second_stage_told"  # card: why there is a second stage, or none, in words

Progress = Callable[[str, int, int, Mapping[str, float]], None]


def second_recipe(recipe: Recipe, *, begun: Begun | None) -> SecondRecipe:
    """That of the second stage of a training by `recipe`, which begins from `begun` or afresh."""
    plain = SecondRecipe(steps=recipe.second_steps, light=recipe.light, seed=recipe.seed)
    return plain if begun is None else replace(plain, learning_rate=WARM_RATE * plain.learning_rate)


class Begun(NamedTuple):
    """The second stage of the detector that a training begins from, and the taxa it knows."""

    network: SecondStage
    taxa: tuple[str, ...]


def begun_second(folder: Path | str | None) -> Begun | None:
    """That of the detector in a folder; None where there is no folder or it has none."""
    if folder is None:
        return None
    detector = load_detector(folder, device="cpu")
    second = detector.network.second if isinstance(detector.network, CentrePointNetwork) else None
    return Begun(second, detector.info.taxa) if isinstance(second, SecondStage) else None


def fresh_second(network: CentrePointNetwork, taxa: Sequence[str], begun: Begun | None, seed: int) -> SecondStage:
    """One to be trained: what `begun` knows, for the taxa that both know, else the encoder of the first stage.

    What neither gives is drawn by the seed.
    """
    torch.manual_seed(seed)
    if begun is None:
        second = SecondStage(len(taxa))
        second.begin_from(network)
        return second
    shape = begun.network.architecture
    a, b, c, d = shape["widths"]
    second = SecondStage(len(taxa), stem=shape["stem"], widths=(a, b, c, d), hidden=shape["hidden"])
    wanted = second.state_dict()
    for name, part, before in known_to(begun, taxa):
        wanted[name][part] = before
    second.load_state_dict(wanted)
    return second


def known_to(begun: Begun, taxa: Sequence[str]) -> Iterator[Known]:
    """The weights of `begun` that one for `taxa` takes over."""
    rows = [(row, row) for row in range(ANSWERS)]
    rows += [
        (ANSWERS + row, ANSWERS + begun.taxa.index(taxon)) for row, taxon in enumerate(taxa) if taxon in begun.taxa
    ]
    for name, before in begun.network.state_dict().items():
        if name.startswith("out."):
            yield from known_rows(rows, name, before)
        else:
            yield name, ..., before


def as_trained(second: SecondStage) -> SecondStage:
    """One that was trained before, its logits raised as training has them."""
    with torch.no_grad():
        second.out.bias[0] += DRAWN_MORE_OFTEN
    return second


def second_that_pays(
    network: CentrePointNetwork,
    card: Mapping[str, Any],
    training: Sequence[Sample],
    validation: Sequence[Sample],
    device: torch.device,
    recipe: Recipe,
    warm_start: Path | str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a second stage for the candidates of `network` in the training samples; what the card is to say of it.

    It goes on from that of the detector in the folder `warm_start`, where it has one, and keeps as much of that as pays
    on validation samples (`weight_ensemble`). Fewer than ENOUGH candidates on
    labelled animals, or no other, train none: then that one serves as it is, if it knows the taxa.
    The network has it from then on, unless the score that weights are kept by, on validation samples, says by more than
    their `on_samples.margin` that it harms; without such samples it is kept.
    """

    def told(stage: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, of: progress(stage, done, of, {})

    begun = begun_second(warm_start)
    how = second_recipe(recipe, begun=begun)
    first = judge_of(network, card, device)
    examples = examples_of(training, lambda sample: first(sample, CANDIDATES_FROM), told("candidates"))
    on_animals = int(examples.near.sum())
    more: dict[str, Any] = {FROM: CANDIDATES_FROM, "steps": 0}
    if on_animals >= ENOUGH and on_animals < len(examples):
        kept = "kept"
        steps: Any = None if progress is None else lambda done, of, figures: progress("second stage", done, of, figures)
        second = fresh_second(network, card["taxa"], begun, how.seed)
        second = train_second(as_trained(second) if begun else second, examples, how, device=device, progress=steps)
        more |= {"steps": how.steps, "learning_rate": how.learning_rate}
        more["trained_on"] = {"candidates": len(examples), "on_animals": on_animals}
    else:
        few = (
            f"{on_animals} of {len(examples)} candidates lie on labelled animals ({ENOUGH} are needed, and some others)"
        )
        if begun is None or not (len(card["taxa"]) == 1 or set(card["taxa"]) <= set(begun.taxa)):
            return {TOLD: f"none: {few}"}
        kept = f"kept as it was before, since only {few}"
        second = fresh_second(network, card["taxa"], begun, how.seed).eval()
    if not validation:
        network.take_second(second)
        return {SECOND: more, TOLD: f"{kept}: there were no validation images to compare with"}
    before = look(first, validation)["score"]
    network.take_second(second)

    def score() -> float:
        return look(judge_of(network, {**card, SECOND: more}, device), validation)["score"]

    if begun is not None and more["steps"]:
        more[SHARE] = share_that_pays(second, known_to(begun, card["taxa"]), score, margin(validation))
    with_it = score()
    figures = f"the mean of AP50 with any and with the right taxon is {with_it:.3f} with it, {before:.3f} without"
    if with_it < before - margin(validation):
        network.take_second(None)
        return {TOLD: f"none: on validation images {figures}"}
    return {SECOND: more, TOLD: f"{kept}: on validation images {figures}"}
