"""Options of the commands that read labelled images: `train` and `evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

OnlyScanners = Annotated[
    list[str] | None, typer.Option("--scanner", "-s", metavar="ID", help="Only images of this scanner; repeatable.")
]
Dpi = Annotated[float | None, typer.Option(help="Resolution of images whose label entry says none; 1200 if left out.")]
NoDifference = Annotated[bool, typer.Option("--no-difference", help="Leave out earlier images of the same scanner.")]
