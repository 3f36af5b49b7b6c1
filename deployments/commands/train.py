"""`soilpipe train`: a model from labels, put into the registry as a new version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, begin_utc, moment, opened
from deployments.commands.shown import print_json

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.store import Store

train = typer.Typer(no_args_is_help=True, help="Train a model on labels.")

LOOKS = 20  # at the validation images in a whole training
SCENES = 0.3  # of the crops
PATIENCE = 10  # looks: only the half of a training in which nothing improved is given up


class Size(StrEnum):
    """Of the centre-point network."""

    SMALL = "small"
    MEDIUM = "medium"
    RESNET18 = "resnet18"
    RESNET50 = "resnet50"


class Family(StrEnum):
    """Of torchvision."""

    FASTER_RCNN = "fasterrcnn_resnet50_fpn_v2"
    FCOS = "fcos_resnet50_fpn"


class Precision(StrEnum):
    """In which a detector computes."""

    FLOAT32 = "float32"
    BF16 = "bf16"


Labels = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="Labels, COCO JSON; the project's own if left out.")
]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of their images; that of the labels if left out.")
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; the labels' name if left out.")]
SingleClass = Annotated[bool, typer.Option("--single-class", help="Learn animals, not their taxa.")]
LeastExamples = Annotated[
    int | None,
    typer.Option(min=1, help="Animals from which a taxon is learned; fewer count as what is above it. 20 if left out."),
]
Scale = Annotated[float | None, typer.Option(metavar="F", help="Work at this part of the images' resolution.")]
Dpi = Annotated[float | None, typer.Option(help="Resolution of images whose label entry says none; 1200 if left out.")]
NoDifference = Annotated[bool, typer.Option("--no-difference", help="Leave out earlier images of the same scanner.")]
OnlyScanners = Annotated[
    list[str] | None, typer.Option("--scanner", "-s", metavar="ID", help="Only images of this scanner; repeatable.")
]
Validate = Annotated[
    list[str] | None,
    typer.Option(
        "--validate",
        metavar="SCANNER",
        help="Kept for the threshold; the last tenth if left out. `none`: train on all, and the threshold is 0.3.",
    ),
]
ValidateFrom = Annotated[
    str | None, typer.Option(metavar="DATE", help="Keep this block of time for the threshold: from this date on.")
]
ValidateUntil = Annotated[str | None, typer.Option(metavar="DATE", help="Up to this date, which is left out.")]
Simulated = Annotated[
    list[Path] | None,
    typer.Option("--mix-simulated", metavar="DIR", help="Simulated seasons to train on as well; repeatable."),
]
Scenes = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of crops that are artificial: animals pasted onto other ground.")
]
SizeOption = Annotated[Size | None, typer.Option(help="Of the network; medium, or that of what it begins from.")]
FamilyOption = Annotated[Family | None, typer.Option(help="A detector of torchvision's instead: to compare.")]
Backbone = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="The folder of an encoder of that --size; or a file with weights for a ResNet."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="VERSION", help="Begin from its weights; the champion's if left out. `none`: fresh."
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="In which it detects, everywhere: bf16 is twice as fast on CPUs with AMX, slower on others."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; 2500 if left out.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same weights, on a CPU.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Looks without a better one (of 20) after which it stops; 0: never.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the training of this name that was interrupted.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU if there is one.")]


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
    scanner: OnlyScanners = None,
    validate: Validate = None,
    validate_from: ValidateFrom = None,
    validate_until: ValidateUntil = None,
    mix_simulated: Simulated = None,
    scenes: Scenes = SCENES,
    size: SizeOption = None,
    family: FamilyOption = None,
    backbone: Backbone = None,
    begin_from: From = None,
    precision: PrecisionOption = None,
    steps: Steps = None,
    seed: Seed = 0,
    patience: Patience = PATIENCE,
    resume: Resume = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a detector and put it into the registry as a new version. It is used once it is promoted.

    While it runs it is kept every minute in the user's cache (~/.cache/soilpipe/training); --resume goes on from there.
    """
    if images is not None and labels is None:
        raise OptionError("--images goes with --labels; without either, the project's own labels are taken.")
    if size is not None and family is not None:
        raise OptionError("--size is of the centre-point network, --family is another one; give one of them.")
    if precision is Precision.BF16 and family is not None:
        raise OptionError("--precision bf16 is for the centre-point network; torchvision's detect in float32.")
    loaded, store = opened(project)

    from deployments.commands.training_progress import shown
    from soilpipe import models
    from soilpipe.detect.checkpoint import forget, work_folder
    from soilpipe.detect.curves import keep_curves
    from soilpipe.detect.learned_taxa import LEAST_EXAMPLES
    from soilpipe.detect.recipe import Recipe
    from soilpipe.detect.starting import Start
    from soilpipe.detect.training import train_detector as train_on

    begin = _beginning(store, begin_from, size, family, backbone)
    if begin.told:
        typer.echo(begin.told, err=True)
    start = Start(begin.size, begin.family, backbone, begin.folder)
    steps = steps or Recipe.steps
    recipe = start.recipe(steps=steps, seed=seed, scenes=scenes, patience=patience, check_every=max(1, steps // LOOKS))
    name = name or (labels.stem if labels is not None else loaded.project)
    work = work_folder(store.root, name)
    typer.echo(_kept_told(work, resume), err=True)
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder, shown(quiet=as_json) as progress:
        on = _labels(loaded, store, labels, images, Path(folder) / "labels")
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
            backbone=backbone,
            warm_start=start.warm_start,
            precision=precision,
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


@dataclass(frozen=True)
class _Beginning:
    """Which network, and the folder of the detector whose weights it begins from."""

    size: str
    family: str | None
    folder: Path | None = None
    told: str = ""


def _beginning(
    store: Store, wanted: str | None, size: Size | None, family: Family | None, backbone: Path | None
) -> _Beginning:
    """The champion where nothing else is asked for and its network is of the kind that is."""
    from soilpipe import models
    from soilpipe.detect.sizes import MEDIUM
    from soilpipe.detect.starting import kind_of

    kind = family.value if family is not None else size.value if size is not None else None
    asked = size.value if size is not None else MEDIUM, None if family is None else family.value
    if wanted == "none" or (wanted is None and backbone is not None):
        return _Beginning(*asked)
    version = models.champion(store, "detector") if wanted is None else models.resolve(store, "detector", wanted)
    card = models.card_of(store, "detector", version)
    its = kind_of(card)
    if kind not in (None, its):
        if wanted is not None:
            raise OptionError(f"{wanted} is of the kind {its}, asked for is {kind}. Leave one of them out.")
        return _Beginning(*asked, told=f"Begins afresh: the champion ({version}) is of the kind {its}, not {kind}.")
    folder = models.model_path(store, "detector", version)
    told = f"Begins from the weights of {card.get('name', version)} ({version}); --from none begins afresh."
    if card.get("family"):
        return _Beginning(MEDIUM, its, folder, told)
    return _Beginning(its, None, folder, told)


def _kept_told(work: Path, resume: bool) -> str:
    """What is there of an interrupted training, and where this one is kept."""
    from soilpipe.detect.checkpoint import steps_kept

    steps = steps_kept(work)
    if resume:
        return f"Goes on after step {steps}." if steps is not None else "There is no interrupted training: begins anew."
    if steps is not None:
        return f"A training of this name was interrupted after step {steps}; this one begins anew (--resume goes on)."
    return f"While it runs it is kept in {work}: if it is interrupted, --resume goes on."


def _labels(project: Project, store: Store, labels: Path | None, images: Path | None, folder: Path) -> Any:
    """The `TrainingLabels` that were asked for."""
    from soilpipe.training_labels import TrainingLabels, own_labels

    if labels is None:
        return own_labels(project, store, folder)
    return TrainingLabels(labels, labels.parent if images is None else images, None, "", None)


Where = Callable[[Any], bool]


def _of_scanners(ids: list[str] | None) -> Where | None:
    wanted = set(ids or ())
    return None if not wanted else lambda image: image.scanner_id in wanted


def _both(one: Where | None, other: Where | None) -> Where | None:
    if one is None or other is None:
        return one or other
    return lambda image: one(image) and other(image)


def _print(version: str, card: Mapping[str, Any], curves: str | None) -> None:
    typer.echo(f"{card['name']} is version {version}: {len(card['taxa'])} taxa, threshold {card['threshold']:.2f}.")
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
    typer.echo(
        f"Use it with `detector: {version}` in the project file, or make it the champion with"
        f" `soilpipe models promote {version}`; that takes --force and a --reason while no figures speak for it."
    )
