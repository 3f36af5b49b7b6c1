"""The options of `soilpipe train detector`, each with its help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
EvenContrast = Annotated[
    bool | None,
    typer.Option(
        "--even-contrast/--as-scanned",
        help="Make light and contrast alike in all images first: for devices, panes or ground that differ much. As the "
        "detector that it begins from, if left out.",
    ),
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
SecondStage = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Steps of a second stage, which looks once more at each animal that the first believes to see; 0: none. "
        "Without it: as the detector that it begins from.",
    ),
]
SizeOption = Annotated[Size | None, typer.Option(help="Of the network; medium, or that of what it begins from.")]
FamilyOption = Annotated[Family | None, typer.Option(help="A detector of torchvision's instead: to compare.")]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="ENCODER",
        help="What its backbone begins from: `champion`, the encoder in use; a version or name of another; the folder "
        "of one of that --size; or a file with weights for a ResNet.",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="VERSION",
        help="Begin from its weights; those of the detector in use if left out. `none`: fresh.",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="In which it detects, everywhere: bf16 is twice as fast on CPUs that have it, slower on others."),
]
Licence = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="For the card; what the label file says of its images if left out."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; 2500 if left out.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same weights, on a CPU.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Looks without a better one (of 20) after which it stops; 0: never.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the training of this name that was interrupted.")]
