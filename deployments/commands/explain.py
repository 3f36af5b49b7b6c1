"""`soilpipe explain`: the labelled crops that are nearest to a detection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.device import Device, checked_device
from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import print_json, print_table
from deployments.commands.versions import version_called
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from soilpipe.store import Store

DetectionId = Annotated[
    str, typer.Argument(metavar="DETECTION_ID", help="As in the column detection_id of series/detections.")
]
Version = Annotated[
    str | None, typer.Option(metavar="V", help="Of the classifier; the one that named the detection if left out.")
]
Count = Annotated[int, typer.Option(min=1, max=20, help="How many labelled crops.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.png", help="Write them as a picture.")]


def explain(
    detection_id: DetectionId,
    project: ProjectFile = DEFAULT_PROJECT,
    version: Version = None,
    count: Count = 5,
    output: Output = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Show what a detection is taken for, and the labelled crops that look most like it.

    It is asked of the classifier that named the detection, or of the one in use where the detector named it itself.
    """
    checked_device(device)
    loaded, store = opened(project)
    from soilpipe.classify.explain import explain as explained
    from soilpipe.classify.weights import load_classifier
    from soilpipe.encoders import encoder_at
    from soilpipe.models import model_path

    version = _named_by(store, detection_id) if version is None else version_called(store, "classifier", version)
    classifier = load_classifier(model_path(store, "classifier", version))
    found = explained(store, detection_id, classifier, encoder_at(store, classifier.encoder, device), count)
    if output is not None:
        from soilpipe.report.nearest import nearest_png

        write_whole(output, nearest_png(found, loaded.taxonomy))
    told = found.as_dict()
    if as_json:
        print_json({**told, "picture": output})
        return
    rows = [
        (one.taxon, one.distance, one.source.scanner_id, (one.source.captured_at or "")[:10], one.source.scan)
        for one in found.neighbours
    ]
    chance = "" if found.probability is None else f", probability {found.probability:.2f}"
    unknown = "; far from everything that the classifier knows" if found.is_unknown else ""
    others = ", ".join(f"{taxon} ({chance:.2f})" for taxon, chance in found.alternatives)
    print_table(
        f"{detection_id}: {found.taxon or 'nothing can be said'}{chance}{unknown}",
        ("nearest labelled", "distance", "scanner", "day", "scan"),
        rows,
        f"It may also be: {others}." if others else "",
    )
    if output is not None:
        typer.echo(f"As a picture: {output}")


def _named_by(store: Store, detection_id: str) -> str:
    """The version of the classifier that named a detection; of the one in use, where none did."""
    from soilpipe.classify.explain import classifier_of_row
    from soilpipe.models import in_use, list_models

    there = [model.version for model in list_models(store, "classifier")]
    named = classifier_of_row(store, detection_id)
    if named is not None:
        if named not in there:
            raise OptionError(
                f"The classifier that named {detection_id} ({named}) is no longer in the store. Name another with "
                f"--version: {', '.join(there) or 'there is none'}. Its answer is not the one in the series then."
            )
        return named
    version = in_use(store, "classifier")
    if version is None:
        raise OptionError(
            "No classifier is in use, and none named this detection. "
            + (
                f"Name one with --version: {', '.join(there)}."
                if there
                else "Train one with `soilpipe train classifier`."
            )
        )
    return version
