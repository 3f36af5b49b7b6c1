"""`soilpipe train classifier`: a classifier from labels, put into the registry as a new version."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.device import Device, checked_device
from deployments.commands.image_options import Dpi, NoDifference
from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import print_json, print_table
from deployments.commands.versions import version_called

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder
    from soilpipe.store import Store

Labels = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="Labels, COCO JSON; the project's own if left out.")
]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of their images; that of the labels if left out.")
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; the labels' name if left out.")]
EncoderVersion = Annotated[
    str | None,
    typer.Option("--encoder", metavar="V", help="The encoder in use if left out, else the detector's own trunk."),
]
Calibrate = Annotated[
    list[str] | None,
    typer.Option(
        "--calibrate",
        metavar="SCANNER",
        help="Kept for calibration alone; repeatable. If left out, every scanner is held out once.",
    ),
]
Alpha = Annotated[float, typer.Option(help="Share of answers that may be wrong, and of sets that may miss the taxon.")]
LeastExamples = Annotated[
    int, typer.Option(min=1, help="Animals from which a taxon is a class; fewer count as what is above it.")
]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="The encoder learns from the labelled crops too, which takes minutes; worth it from some hundred animals.",
    ),
]
AddTo = Annotated[
    str | None,
    typer.Option(
        "--add-to", metavar="VERSION", help="Add the taxa that this version lacks, without training the rest anew."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same windows without an animal.")]
ALPHA, LEAST_EXAMPLES = 0.05, 5


def train_classifier(
    labels: Labels = None,
    images: Images = None,
    project: ProjectFile = DEFAULT_PROJECT,
    name: Name = None,
    encoder: EncoderVersion = None,
    calibrate: Calibrate = None,
    alpha: Alpha = ALPHA,
    least_examples: LeastExamples = LEAST_EXAMPLES,
    tune: Tune = False,
    add_to: AddTo = None,
    dpi: Dpi = None,
    no_difference: NoDifference = False,
    seed: Seed = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier and put it into the registry as a new version. It is used once it is promoted.

    Without --labels, on the project's own labels, but for its hold-out. With --add-to, taxa of five animals or more are
    added to a version as they are: no training, a new version.
    """
    checked_device(device)
    if images is not None and labels is None:
        raise OptionError("--images goes with --labels; without either, the project's own labels are taken.")
    if add_to is not None and (encoder is not None or calibrate or tune):
        raise OptionError(
            "--add-to keeps encoder and calibration of its version; leave out --encoder, --calibrate and --tune."
        )
    loaded, store = opened(project)
    from deployments.commands.training_progress import shown
    from soilpipe import models
    from soilpipe.classify.adding import add_to_version
    from soilpipe.classify.false_alarms import false_alarms
    from soilpipe.classify.training import train_classifier as train_on
    from soilpipe.classify.tuning import Tuning
    from soilpipe.classify.weights import load_classifier
    from soilpipe.training_labels import TrainingLabels, own_labels

    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder, shown(quiet=as_json) as progress:
        out = Path(folder) / "model"
        on = (
            own_labels(
                loaded,
                store,
                Path(folder) / "labels",
                difference=not no_difference,
                progress=lambda done, of: progress("tiles", done, of, {}),
            )
            if labels is None
            else TrainingLabels(labels, images or labels.parent, None, "", None)
        )
        if on.told:
            typer.echo(on.told, err=True)
        common: dict[str, Any] = {
            "taxonomy": loaded.taxonomy,
            "name": name or (labels.stem if labels is not None else loaded.project),
            "where": on.where,
            "dpi": dpi,
            "difference": not no_difference,
            "progress": progress,
        }
        if add_to is not None:
            version = version_called(store, "classifier", add_to)
            known = load_classifier(models.model_path(store, "classifier", version))
            card = add_to_version(
                known, on.labels, on.images, out, encoder=_encoder(store, known.encoder, device),
                least_crops=least_examples, **common,
            )  # fmt: skip
        else:
            card = train_on(
                on.labels, on.images, out, encoder=_encoder(store, encoder, device, loaded.detector),
                where_told=on.told or None,
                calibrate=calibrate, alpha=alpha, least_examples=least_examples, seed=seed,
                false_alarms=partial(false_alarms, store) if labels is None else None,
                tuning=Tuning(seed=seed) if tune else None, tuned=Path(folder) / "encoder", **common,
            )  # fmt: skip
            if tune:  # first: no classifier is to stand on an encoder that is not there
                models.register(store, "encoder", Path(folder) / "encoder")
        version = models.register(store, "classifier", out)
    if as_json:
        print_json({"version": version, "card": card})
        return
    _print(version, card)


def _encoder(store: Store, wanted: str | None, device: str | None, detector: str = "champion") -> Encoder:
    from soilpipe import models
    from soilpipe.encoder.weights import OF_DETECTOR
    from soilpipe.encoders import encoder_at, trunk_in_use

    if wanted is None:
        wanted = models.in_use(store, "encoder") or trunk_in_use(store, detector)
        typer.echo(f"On the embeddings of the encoder {wanted}.", err=True)
    elif not wanted.startswith(OF_DETECTOR):
        wanted = version_called(store, "encoder", wanted)
    return encoder_at(store, wanted, device)


def _print(version: str, card: Mapping[str, Any]) -> None:
    figures = card["figures"] or {}
    by_class = figures.get("by_class", {})
    rows = [(taxon, count, *by_class.get(taxon, (None, None))) for taxon, count in card["trained_on"]["crops"].items()]
    print_table(
        f"{card['name']} is version {version}: {len(card['taxa'])} taxa",
        ("class", "crops", "F1 held out", "crops held out"),
        rows,
    )
    if card["added"]:
        added = ", ".join(f"{taxon} ({crops} crops)" for taxon, crops in card["added"].items())
        typer.echo(f"Added to {card['added_to']}: {added}. Everything else is as it was there.")
    if card["rolled_up"]:
        told = ", ".join(f"{taxon} ({one['animals']}) as {one['as']}" for taxon, one in card["rolled_up"].items())
        typer.echo(f"Taxa with too few examples are not told apart: {told}.")
    if card["left_out"]:
        told = ", ".join(f"{taxon} ({animals})" for taxon, animals in card["left_out"].items())
        typer.echo(f"Too few examples, and nothing above them has more: {told} left out.")
    for note in card["label_notes"]:
        typer.echo(f"Labels: {note}.")
    if figures:
        typer.echo(
            f"On crops that it had not seen ({card['held_out']}): macro-F1 {_figure(figures['macro_f1'])}, answered"
            f" {_figure(figures['answered'])}, of those wrong {_figure(figures['error_among_answers'])}."
        )
    typer.echo(f"Calibrated on {card['calibrated_on']}. Threshold {card['threshold']:.3f}: {card['threshold_from']}.")
    promoted = f"promote {version} --role classifier"
    if told := card["encoder_info"].get("tuned"):
        promoted = f"promote {card['encoder']} --role encoder --with {version}"
        typer.echo(f"It stands on encoder {card['encoder']}: {told['begun_from']}, tuned on these crops.")
    typer.echo(
        f"Its card: `soilpipe models show {version} --role classifier`. It is used once it is promoted:"
        f" `soilpipe models {promoted}`."
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
