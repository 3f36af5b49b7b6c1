"""One detector of `ablation.py`: trained on one variant with one seed. `ablation_judging` says what it is worth."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ablation_crops import drawn_alike, lighting_of
from ablation_inputs import Plan, samples_of

from soilpipe.detect.checkpoint import Checkpoints, forget
from soilpipe.detect.fitting import fit
from soilpipe.detect.starting import Start, make_learner
from soilpipe.detect.training import BORDER_TOLERANCE, DEFAULT_THRESHOLD, UM_PER_PX, border_mm
from soilpipe.detect.weights import save_detector
from soilpipe.taxonomy import ROOT

COARSE_SHARE = 0.35  # of the crops: from 3 mm on (half scale) animals are of that pass


@dataclass(frozen=True)
class Run:
    """One training. `light`: how far the light of crops is changed (`Recipe.light`), the same for all variants. `half`:
    at half the scale."""

    variant: str
    seed: int
    steps: int
    batch: int
    light: float
    half: bool = False

    @property
    def um_per_px(self) -> float:
        """Of the fine pass."""
        return UM_PER_PX * (2 if self.half else 1)

    def folder(self, plan: Plan, root: Path) -> Path:
        """Where its weights and figures go."""
        told = f"{plan.train_on}-{plan.seasons}-seasons-{self.steps}x{self.batch}{'-half' if self.half else ''}"
        return root / "runs" / told / f"{self.variant}-{self.seed}"


def train(run: Run, plan: Plan, root: Path) -> None:
    """Train unless its weights are there; a training that was interrupted goes on where it was.

    The working threshold on the card is not of this training yet: `ablation_judging.validated` chooses it.
    """
    out = run.folder(plan, root)
    if (out / "card.json").exists():
        return
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples, differences = (
        samples_of(plan, root, "train", variant, half=run.half) for variant in (run.variant, "difference")
    )
    samples = drawn_alike(samples, differences)
    del differences
    animals = sum(len(sample.image.boxes) for sample in samples)
    print(f"{run.variant}, seed {run.seed}: {len(samples)} scans, {animals} animals to learn from", flush=True)
    recipe = Start().recipe(steps=run.steps, batch=run.batch, light=run.light, seed=run.seed, coarse_share=COARSE_SHARE)
    learner = make_learner(Start(), (ROOT,), device, run.seed)

    def told(done: int, of: int, losses: Any) -> None:
        if (done - 1) % 250 == 0 or done == of:
            values = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{time.monotonic() - began:6.0f} s  step {done} of {of}  {values}", flush=True)

    fitted = fit(
        samples,
        learner,
        run.um_per_px,
        recipe,
        border_mm=border_mm(run.um_per_px),
        tolerance=BORDER_TOLERANCE,
        device=device,
        lighting=lighting_of(run.variant),
        checkpoints=Checkpoints(out / "work", {"run": asdict(run), "on": [plan.train_on, plan.seasons]}),
        resume=True,
        progress=told,
    )
    card: dict[str, Any] = {
        "name": f"{run.variant}-{run.seed}",
        "taxa": [ROOT],
        "um_per_px": run.um_per_px,
        "threshold": DEFAULT_THRESHOLD,
        "validation": "none",
        "heads": list(fitted.heads),
        "border_mm": border_mm(run.um_per_px),
        "border_tolerance": BORDER_TOLERANCE,
        "difference": run.variant in ("difference", "nearest"),
        "architecture": fitted.network.architecture,
        "recipe": {**asdict(recipe), "ema": recipe.decay},
        "seconds": round(time.monotonic() - began, 1),
    }
    save_detector(out, fitted.network, card)
    forget(out / "work")
