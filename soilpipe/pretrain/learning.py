"""Pretraining: from crops that nobody labelled to an encoder's folder, with its card and the picture of how it went."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from soilpipe.detect.checkpoint import Checkpoints
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.sizes import MEDIUM
from soilpipe.detect.trained_card import device_name
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.trunk import make_trunk, trunk_of, trunk_shape
from soilpipe.encoder.weights import read_card, save_encoder
from soilpipe.pretrain.curves import CURVES, plot_curves
from soilpipe.pretrain.learning_batches import Batch, Batches, check_crops
from soilpipe.pretrain.learning_loop import Learned, Look, Told, learn
from soilpipe.pretrain.learning_recipe import PretrainError, PretrainRecipe
from soilpipe.pretrain.method import DenseCL
from soilpipe.pretrain.method_lightly import lightly_version
from soilpipe.pretrain.spread import Spread, spread

if TYPE_CHECKING:
    from soilpipe.detect.network import CentrePointNetwork
    from soilpipe.encoder.close_look import CloseLook
    from soilpipe.pretrain.source import CropSource

__all__ = ["PretrainCheckpointError", "PretrainError", "PretrainRecipe", "crops_per_second", "pretrain"]

log = logging.getLogger(__name__)

UM_PER_PX = 21.17  # 1200 dpi
STAGE = "pretraining"

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told: the stage, how much of it is done, of how much, and figures (loss, and of the
spread of the vectors: effective rank, standard deviation, alignment, uniformity)."""


class PretrainCheckpointError(PretrainError):
    """What is kept of an interrupted pretraining cannot be taken up: it is damaged, or of another one."""


def pretrain(
    crops: CropSource,
    out: Path | str,
    *,
    name: str | None = None,
    size: str | None = None,
    start: Encoder | None = None,
    recipe: PretrainRecipe | None = None,
    um_per_px: float | None = None,
    close: CloseLook | None = None,
    told: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    work: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train an encoder on crops, and write weights.safetensors, card.json and pretraining.png into `out`; the card.

    size: of `soilpipe.detect.sizes.SIZES`; None: that of `start`, or medium. start: the encoder to begin from, with
    fresh heads. um_per_px: of the crops; None: that of `start`, or of 1200 dpi. close: the close look that goes with
    the encoder as it is; None: that of `start`, if it has one. told: more for the card. work: a folder in which the
    training is kept once a minute; with `resume` it goes on from there. What is kept there stays, until who called has
    done something with the encoder and lets it go (`soilpipe.detect.checkpoint.forget`).

    `out` is written at the end alone. PretrainError when there is nothing to learn from, when start and size disagree,
    and when the device is too small for any batch; PretrainCheckpointError when there is nothing to resume from.
    """
    began = time.monotonic()
    recipe = recipe or PretrainRecipe()
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    check_crops(crops)
    trunk = _trunk(size, start, recipe.seed)
    card: dict[str, Any] = {
        "name": name or Path(out).name,
        "um_per_px": um_per_px or (start.info.um_per_px if start is not None else UM_PER_PX),
        "validation": "none",
        "method": f"DenseCL (Wang et al. 2021), with lightly {lightly_version}",
        "start": None if start is None else {"name": start.info.name, "version": start.info.version},
        "recipe": asdict(recipe),
        "seed": recipe.seed,
        "trained_on": trained_on(crops),
        "device": device_name(target),
        **(told or {}),
    }
    batches = Batches(crops, recipe, target)
    probe = batches.probe()
    card |= {"view_px": batches.side, "difference": bool(probe.views[:, 6].any())}
    model = _model(trunk, recipe, target, frozen=start is not None)
    fits = {key: card[key] for key in ("recipe", "start")}
    fits |= {"architecture": trunk_shape(trunk), "crops": fingerprint(crops)}
    try:
        learned = learn(
            model,
            batches,
            recipe,
            target,
            warm=start is not None,
            settle_on=probe.views,
            look=_look(model, probe, card, target),
            checkpoints=Checkpoints(work, fits),
            resume=resume,
            progress=_stage(progress),
        )
    except TrainingError as error:
        raise PretrainCheckpointError(str(error)) from error
    card |= _how_it_went(learned, batches, probe, recipe)
    log.info("pretrained in %.0f s, %.0f s of it learning", time.monotonic() - began, learned.seconds)
    save_encoder(out, model.query.trunk, card, close or (None if start is None else start.close))
    plot_curves(
        learned.curves.losses,
        learned.curves.looks,
        Path(out) / CURVES,
        crops=len(probe),
        full_from=card["loss"]["from_step"],
        of_a_guess=card["loss"]["of_a_guess"],
    )
    return read_card(out)[0]


def crops_per_second(
    crops: CropSource,
    *,
    size: str = MEDIUM,
    recipe: PretrainRecipe | None = None,
    device: str | torch.device | None = None,
    steps: int = 20,
    warm_up: int = 3,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """How many crops a second the loop of `pretrain` learns from, drawing and both views included, looks not.

    Timed over `steps` steps, after `warm_up` that are not counted. A crop is one entry of a batch, as an image is in
    lightly's examples. clock: seconds; `time.process_time` counts those of the cores alone, whoever else is at work.
    """
    recipe = replace(recipe or PretrainRecipe(), minutes=None)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = _model(_trunk(size, None, recipe.seed), recipe, target, frozen=False)
    for count in (warm_up, steps):
        batches = Batches(crops, recipe, target)
        if target.type == "cuda":
            torch.cuda.synchronize(target)
        began = clock()
        learned = learn(model, batches, replace(recipe, steps=count), target, warm=False)
    return learned.crops / (clock() - began)  # the last loss was read, so the device is done


def trained_on(crops: CropSource) -> dict[str, Any]:
    """For the card: how many crops of how many scanners and places."""
    told: dict[str, Any] = {
        "crops": len(crops),
        "new": int(np.count_nonzero(crops.is_new)),
        "scanners": len(np.unique(crops.scanner)),
        "places": len(np.unique(crops.place)),
    }
    manifest = getattr(crops, "manifest_hash", None)
    return told if manifest is None else told | {"manifest_hash": manifest}


def full_from(losses: Sequence[tuple[float, ...]], recipe: PretrainRecipe) -> int:
    """The step from which on losses compare: before it the queue holds random directions, which are easily told apart.

    Of a run that was over before, the last step.
    """
    return min(math.ceil(recipe.queue / recipe.batch) + 1, int(losses[-1][0]))


def fingerprint(crops: CropSource) -> str:
    """16 hex digits that tell one set of crops from another, for what is kept of a training."""
    digest = hashlib.blake2b(str(getattr(crops, "manifest_hash", "")).encode(), digest_size=8)
    for values in (crops.place, crops.is_new):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _trunk(size: str | None, start: Encoder | None, seed: int) -> CentrePointNetwork:
    """What is trained: a copy of the trunk of `start`, or a fresh one."""
    if start is None:
        torch.manual_seed(seed)
        return make_trunk(size or MEDIUM)
    if size is not None and size != start.info.size:
        raise PretrainError(
            f"the encoder to begin from, {start.info.name} ({start.info.version}), is "
            f"{start.info.size or 'of no size'} and not {size}. Begin from an encoder of that size, or from none"
        )
    return start.network()


def _model(trunk: CentrePointNetwork, recipe: PretrainRecipe, device: torch.device, *, frozen: bool) -> DenseCL:
    torch.manual_seed(recipe.seed)
    model = DenseCL(
        trunk,
        queue=recipe.queue,
        temperature=recipe.temperature,
        dense=recipe.dense,
        recompute=recipe.recompute,
        frozen=frozen,
    )
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _look(model: DenseCL, probe: Batch, card: Mapping[str, Any], device: torch.device) -> Look:
    """Measures the spread of the vectors of the same views each time, as the encoder that is saved would give them."""
    first, second = probe.views.chunk(2)

    def seen() -> Spread:
        encoder = Encoder(trunk_of(model.query.trunk).eval(), card, device=device)
        return spread(encoder.embed(first), encoder.embed(second))

    return seen


def _stage(progress: Progress | None) -> Told | None:
    return None if progress is None else lambda done, of, figures: progress(STAGE, done, of, figures)


def _how_it_went(learned: Learned, batches: Batches, probe: Batch, recipe: PretrainRecipe) -> dict[str, Any]:
    """The part of the card that is known afterwards."""
    looks = [
        dict(zip(("step", *(field.name for field in fields(Spread))), row, strict=True)) for row in learned.curves.looks
    ]
    filled = full_from(learned.curves.losses, recipe)
    losses = np.array([row[-1] for row in learned.curves.losses if row[0] >= filled])
    tenth = max(1, len(losses) // 10)
    return {
        "steps": learned.steps,
        "ended_by": learned.ended_by,
        "batch": batches.size,
        "halved": [{"step": step, "batch": size} for step, size in batches.halved],
        "recompute": 0 if recipe.recompute else batches.recompute,
        "loss": {
            "first": round(float(losses[:tenth].mean()), 4),
            "last": round(float(losses[-tenth:].mean()), 4),
            "from_step": filled,
            "of_a_guess": round(math.log(1 + recipe.queue), 4),
        },
        "spread": {"crops": len(probe), "before": looks[0], "after": looks[-1]},
        "seconds": round(learned.seconds, 1),
        "crops_per_second": round(learned.crops / max(learned.seconds, 1e-9), 1),
    }
