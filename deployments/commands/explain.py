"""`soilpipe explain`: the labelled crops that are nearest to a detection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, OptionError, ProjectFile, opened
from deployments.commands.shown import print_json, print_table
from deployments.commands.written import write_whole

DetectionId = Annotated[
    str, typer.Argument(metavar="DETECTION_ID", help="As in the column detection_id of series/detections.")
]
Version = Annotated[str | None, typer.Option(metavar="V", help="Of the classifier; the one in use if left out.")]
Count = Annotated[int, typer.Option(min=1, max=20, help="How many labelled crops.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.png", help="Write them as a picture.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU if there is one.")]


def explain(
    detection_id: DetectionId,
    project: ProjectFile = DEFAULT_PROJECT,
    version: Version = None,
    count: Count = 5,
    output: Output = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Show what a detection is taken for, and the labelled crops that look most like it."""
    loaded, store = opened(project)
    from soilpipe.classify.explain import explain as explained
    from soilpipe.classify.weights import load_classifier
    from soilpipe.encoders import encoder_at
    from soilpipe.models import in_use, list_models, model_path, resolve

    if version is None:
        version = in_use(store, "classifier")
        if version is None:
            there = ", ".join(model.version for model in list_models(store, "classifier"))
            raise OptionError(
                "No classifier is in use. "
                + (f"Name one with --version: {there}." if there else "Train one with `soilpipe train classifier`.")
            )
    classifier = load_classifier(model_path(store, "classifier", resolve(store, "classifier", version)))
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
