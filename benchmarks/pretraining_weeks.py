"""Eight simulated weeks with drift, once with the gate and once without it.

Week 4 brings a new taxon, from week 6 on the soil is darker, in week 7 one scanner fogs, and week 5 is garbage on all
scanners: stripes and noise, which nobody labels. Each week a few scans are labelled and `soilpipe.refresh` runs as it
does in a project. Without the gate, whatever a refresh makes is put to use, and remembered. The gate is that of the
figures: no detector runs here, so what a change does to the counts of the last seven days is left out.

What is in use is judged every week on the same scans of scanners that no project has: macro-F1 over the taxa and the
background, in plain light.
"""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from kept_settings import differing
from pretraining_scenes import TAXA, Light, Shown, Window, write_labels
from pretraining_weeks_project import FIRST, SLOT, WEEK, Plan, SimulatedProject
from pretraining_weeks_report import report

from soilpipe.bundles.promotion import bundle_in_use
from soilpipe.classify.evaluation import f1_by_class
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.coco import read_labels
from soilpipe.encoders import encoder_at
from soilpipe.models import model_path
from soilpipe.refresh.begin import begin
from soilpipe.refresh.bundle import decide_on_bundle, fit_classifier
from soilpipe.refresh.refresh import refresh
from soilpipe.refresh.state import JUDGE, forget
from soilpipe.refresh.steps import choose_corpus, done_with, pretrain_encoder, state_of

__all__ = ["report", "weeks"]

WEEKS = 8
SETTINGS = "weeks-settings.txt"  # no .json: those are figures of the labels part, which may share the folder
THAT_MATTER = ("weeks", "scanners", "scans", "labelled", "side", "animals", "steps", "crops", "minutes")
"""What all rows of a folder must have in common."""


def weeks(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """One row a seed, week and arm. With a --folder each is written there as soon as it is there, and an arm that is
    finished there is not run again: all of them take longer than many a night."""
    plan = Plan.of(arguments)
    if arguments.folder is not None:
        _check_settings(arguments)
    for seed in arguments.only_seeds or range(arguments.seeds):
        for gated in (True, False):
            if arguments.folder is None:
                yield from _arm(plan, seed, gated, arguments)
                continue
            kept = arguments.folder / f"weeks-{seed}-{'gated' if gated else 'open'}.jsonl"
            rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
            if [row["week"] for row in rows] == list(range(1, arguments.weeks + 1)):
                yield from rows
                continue
            with kept.open("w") as file:  # what a run that was stopped left of an arm begins again: its store is gone
                for row in _arm(plan, seed, gated, arguments):
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    yield row


def _check_settings(arguments: Namespace) -> None:
    """Rows made with other settings are not mixed with these."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / SETTINGS
    settings = {name: getattr(arguments, name) for name in THAT_MATTER}
    if path.exists() and (told := differing(json.loads(path.read_text()), settings)):
        raise SystemExit(f"The weeks in {arguments.folder} were run with {told}. Give the same, or another --folder")
    path.write_text(json.dumps(settings, indent=1) + "\n")


def _arm(plan: Plan, seed: int, gated: bool, arguments: Namespace) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        test = write_test(folder / "test", plan, seed)
        arm = SimulatedProject(folder / "project", plan, seed)
        for week in range(1, arguments.weeks + 1):
            arm.add(week)
            outcome, words = one_refresh(arm, plan, week, gated, folder / "work", arguments.device)
            worth = champions_worth(arm, test, arguments.device)
            told = {"seed": seed, "gated": gated, "week": week}
            yield {**told, "outcome": outcome, "words": words, "macro_f1": worth}


def one_refresh(
    arm: SimulatedProject, plan: Plan, week: int, gated: bool, work: Path, device: str | None
) -> tuple[str, str]:
    """Refresh as a project does; without the gate the verdict is always yes."""
    from soilpipe.pretrain.corpus import NoNewScansError

    now = FIRST + week * WEEK
    if gated:
        with patch("soilpipe.refresh.verdict.with_week", lambda project, store, verdict, *_, **__: verdict):
            result = refresh(arm.project, arm.store, plan=plan.refresh, now=now, device=device, work=work)
        return result.outcome, result.words

    def silent(step: str, note: str, done: int, of: int) -> None:
        pass

    work.mkdir(exist_ok=True)
    begin(arm.project, arm.store, work, plan=plan.refresh, now=now)
    try:
        choose_corpus(arm.project, arm.store, work, device=device, tell=silent)
    except NoNewScansError as error:
        forget(work)
        return "nothing new", str(error)
    pretrain_encoder(arm.project, arm.store, work, device=device, tell=silent)
    state = fit_classifier(arm.project, arm.store, work, device=device, tell=silent)
    passed = state.done["classifier"]["classifier"] is not None
    verdict = {"passed": passed, "undecided": not passed, "words": "there is no gate", "figures": {}}
    done_with(work, state_of(work), JUDGE, verdict)
    record = decide_on_bundle(arm.project, arm.store, work, device=device, now=now, tell=silent)
    forget(work)
    return record.outcome, record.words


def write_test(folder: Path, plan: Plan, seed: int) -> Path:
    """Scans of two scanners that no project has, with all taxa, in plain light; the first ones serve as references."""
    shown = []
    for number in range(2):
        window = Window(f"T{number:02d}", 900_000 + 100 * seed + number, plan.side, plan.side)
        for scan in range(10):
            image, marked = window.scan(scan, TAXA, plan.animals, Light())
            shown.append(Shown(window.scanner_id, FIRST + scan * SLOT, image, marked, labelled=scan >= 4))
    return write_labels(folder, shown)


def champions_worth(arm: SimulatedProject, test: Path, device: str | None) -> float | None:
    """Macro-F1 of what is in use on the test scans; None while nothing is."""
    bundle = bundle_in_use(arm.store)
    if bundle is None:
        return None
    encoder = encoder_at(arm.store, bundle.encoder, device)
    classifier = load_classifier(model_path(arm.store, "classifier", bundle.classifier))
    examples = labelled_crops(read_labels(test, test.parent), encoder, taxonomy=arm.project.taxonomy)
    answers = classifier.classify(examples.embeddings, examples.sizes_mm)
    names = sorted({*examples.taxa, *answers.classes})
    true, found = (np.array([names.index(one) for one in told]) for told in (examples.taxa, answers.best_taxon))
    there = np.isin(np.arange(len(names)), true)
    return float(f1_by_class(true, found, len(names))[there].mean())
