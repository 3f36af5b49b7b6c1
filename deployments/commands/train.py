"""`soilpipe train`: a model from labels, put into the registry as a new version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import typer

from deployments.commands.device import Device, checked_device
from deployments.commands.image_options import Dpi, NoDifference, OnlyScanners
from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, begin_utc, moment, opened
from deployments.commands.shown import print_json
from deployments.commands.train_backbone import Given, backbone_of
from deployments.commands.train_options import (
    PATIENCE,
    SCENES,
    Backbone,
    EvenContrast,
    Family,
    FamilyOption,
    From,
    Images,
    Labels,
    LeastExamples,
    Licence,
    Name,
    Patience,
    Precision,
    PrecisionOption,
    Resume,
    Scale,
    Scenes,
    SecondStage,
    Seed,
    Simulated,
    SingleClass,
    Size,
    SizeOption,
    Steps,
    Validate,
    ValidateFrom,
    ValidateUntil,
)
from deployments.commands.versions import version_called

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.store import Store

train = typer.Typer(no_args_is_help=True, help="Train a model on labels.")

LOOKS = 20  # at the validation images in a whole training


@train.command("detector")
def train_detector(
    labels: Labels = None,
    images: Images = None,
    project: ProjectFile = DEFAULT_PROJECT,
    name: Name = None,
    single_class: SingleClass = False,
    least_examples: LeastExamples = None,
    scale: Scale = None,
    dpi: Dpi = None,
    no_difference: NoDifference = False,
    even_contrast: EvenContrast = None,
    scanner: OnlyScanners = None,
    validate: Validate = None,
    validate_from: ValidateFrom = None,
    validate_until: ValidateUntil = None,
    mix_simulated: Simulated = None,
    scenes: Scenes = SCENES,
    second_stage: SecondStage = None,
    size: SizeOption = None,
    family: FamilyOption = None,
    backbone: Backbone = None,
    begin_from: From = None,
    precision: PrecisionOption = None,
    licence: Licence = None,
    steps: Steps = None,
    seed: Seed = 0,
    patience: Patience = PATIENCE,
    resume: Resume = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector and put it into the registry as a new version. It is used once it is promoted.

    Its threshold is, of those with nearly the best F1 on the images kept for it, the one whose count is nearest to
    theirs; its card tells that of the best F1 as well.

    While it runs it is kept every minute in the user's cache (~/.cache/soilpipe/training); --resume goes on from there.
    Two trainings at once need two names.
    """
    checked_device(device)
    if images is not None and labels is None:
        raise OptionError("--images goes with --labels; without either, the project's own labels are taken.")
    if size is not None and family is not None:
        raise OptionError("--size is of the centre-point network, --family is another one; give one of them.")
    if precision is Precision.BF16 and family is not None:
        raise OptionError("--precision bf16 is for the centre-point network; torchvision's detect in float32.")
    loaded, store = opened(project)

    from deployments.commands.in_use import how_to_use
    from deployments.commands.training_progress import shown
    from soilpipe import models
    from soilpipe.detect.checkpoint import alone_at_work, forget, work_folder
    from soilpipe.detect.curves import keep_curves
    from soilpipe.detect.learned_taxa import LEAST_EXAMPLES
    from soilpipe.detect.recipe import Recipe
    from soilpipe.detect.starting import Start
    from soilpipe.detect.training import train_detector as train_on
    from soilpipe.training_labels import TrainingLabels, own_labels

    given = backbone_of(store, backbone)
    begin = _beginning(loaded, store, begin_from, size, family, given, even_contrast)
    even = begin.evens if even_contrast is None else even_contrast
    if begin.told:
        typer.echo(begin.told, err=True)
    start = Start(begin.size, begin.family, given.path, begin.folder)
    steps = steps or Recipe.steps
    second = {} if second_stage is None else {"second_steps": second_stage}
    every = max(1, steps // LOOKS)
    recipe = start.recipe(steps=steps, seed=seed, scenes=scenes, patience=patience, check_every=every, **second)
    name = name or (labels.stem if labels is not None else loaded.project)
    work = work_folder(store.root, name)
    with (
        alone_at_work(work),
        tempfile.TemporaryDirectory(prefix="soilpipe-") as folder,
        shown(quiet=as_json) as progress,
    ):
        typer.echo(_kept_told(work, resume), err=True)
        on = (
            TrainingLabels(labels, images or labels.parent, None, "", None)
            if labels is not None
            else own_labels(
                loaded,
                store,
                Path(folder) / "labels",
                contrast=even,
                difference=not no_difference and start.family is None,
                seed=recipe.seed,
                progress=lambda done, of: progress("tiles", done, of, {}),
            )
        )
        if on.told:
            typer.echo(on.told, err=True)
        card = train_on(
            on.labels,
            on.images,
            Path(folder) / "model",
            name=name,
            taxonomy=loaded.taxonomy,
            single_class=single_class,
            least_examples=least_examples or LEAST_EXAMPLES,
            scale=scale,
            dpi=dpi,
            difference=not no_difference,
            even=even,
            where=_both(on.where, _of_scanners(scanner)),
            where_told=on.told or None,
            val_scanners=() if validate == ["none"] else validate,
            val_from=begin_utc(moment(validate_from, "--validate-from"), ZoneInfo(loaded.timezone)),
            val_until=begin_utc(moment(validate_until, "--validate-until"), ZoneInfo(loaded.timezone)),
            simulated=mix_simulated or (),
            grounds=on.grounds,
            recipe=recipe,
            size=start.size,
            family=start.family,
            backbone=given.path,
            warm_start=start.warm_start,
            precision=precision,
            licence=licence,
            device=device,
            workers=None,
            work=work,
            resume=resume,
            progress=progress,
        )
        version = models.register(store, "detector", Path(folder) / "model")
        curves = keep_curves(store, version, Path(folder) / "model")
        forget(work)
    if as_json:
        print_json({"version": version, "card": card, "curves": curves})
        return
    _print(version, card, curves)
    typer.echo(how_to_use(loaded, store, version, card["name"]))


@dataclass(frozen=True)
class _Beginning:
    """Which network, and the folder of the detector whose weights it begins from."""

    size: str
    family: str | None
    folder: Path | None = None
    told: str = ""
    evens: bool = False


def _beginning(
    project: Project,
    store: Store,
    wanted: str | None,
    size: Size | None,
    family: Family | None,
    backbone: Given,
    even_contrast: bool | None,
) -> _Beginning:
    """The detector in use where nothing else is asked for and its network is of the kind that is; where that is
    `change`, which has no weights, or the project file asks for one that is still to be trained, the champion."""
    from deployments.commands.in_use import used_by_runs
    from soilpipe import models
    from soilpipe.detect.base import evens_contrast
    from soilpipe.detect.select import CHANGE
    from soilpipe.detect.sizes import MEDIUM
    from soilpipe.detect.starting import kind_of

    kind = family.value if family is not None else size.value if size is not None else None
    asked = size.value if size is not None else backbone.size or MEDIUM, None if family is None else family.value
    if wanted == "none" or (wanted is None and backbone.path is not None):
        return _Beginning(*asked, told=backbone.told)
    used = used_by_runs(project, store, "detector") if wanted is None else version_called(store, "detector", wanted)
    version = models.champion(store, "detector") if used in (None, CHANGE) else str(used)
    card = models.card_of(store, "detector", version)
    its = kind_of(card)
    if kind not in (None, its):
        if wanted is not None:
            raise OptionError(f"{wanted} is of the kind {its}, asked for is {kind}. Leave one of them out.")
        which = "detector in use" if version == used else "champion"
        return _Beginning(*asked, told=f"Begins afresh: the {which} ({version}) is of the kind {its}, not {kind}.")
    folder = models.model_path(store, "detector", version)
    told = f"Begins from the weights of {card.get('name', version)} ({version}); --from none begins afresh."
    evens = evens_contrast(card)
    if even_contrast is not None and even_contrast is not evens:
        seen = "with evened contrast" if evens else "as they are"
        told += f" They have seen scans {seen} alone, and lose some of what they know: --from none may be better."
    if card.get("family"):
        return _Beginning(MEDIUM, its, folder, told, evens)
    return _Beginning(its, None, folder, told, evens)


def _kept_told(work: Path, resume: bool) -> str:
    """What is there of an interrupted training, and where this one is kept."""
    from soilpipe.detect.checkpoint import steps_kept

    steps = steps_kept(work)
    if resume:
        return f"Goes on after step {steps}." if steps is not None else "There is no interrupted training: begins anew."
    if steps is not None:
        return f"A training of this name was interrupted after step {steps}; this one begins anew (--resume goes on)."
    return f"While it runs it is kept in {work}: if it is interrupted, --resume goes on."


Where = Callable[[Any], bool]


def _of_scanners(ids: list[str] | None) -> Where | None:
    wanted = set(ids or ())
    return None if not wanted else lambda image: image.scanner_id in wanted


def _both(one: Where | None, other: Where | None) -> Where | None:
    if one is None or other is None:
        return one or other
    return lambda image: one(image) and other(image)


def _print(version: str, card: Mapping[str, Any], curves: str | None) -> None:
    named = ", ".join(card["taxa"])
    typer.echo(f"{card['name']} is version {version}, threshold {card['threshold']:.2f}. It names {named}.")
    if card["rolled_up"]:
        rolled = ", ".join(f"{taxon} ({one['animals']}) as {one['as']}" for taxon, one in card["rolled_up"].items())
        typer.echo(f"Taxa with too few examples are not told apart: {rolled}.")
    for note in card["label_notes"]:
        typer.echo(f"Labels: {note}.")
    figures = card["figures"]
    if figures:
        typer.echo(
            f"On validation images ({figures['split']}): AP50 {figures['ap50_any_taxon']:.3f}, precision"
            f" {figures['precision']:.3f}, recall {figures['recall']:.3f}. Kept: {card['kept']}."
        )
    typer.echo(f"Its card: `soilpipe models show {version}`. How it went: {curves or 'not drawn'}")
