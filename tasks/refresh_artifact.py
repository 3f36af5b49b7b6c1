"""The decision of a refresh as an artifact in Prefect's UI: figures in Markdown, and the curves as a small picture."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.store import Store

KEY = "refresh-decision"
PICTURE_WIDTH = 720
"""px. It goes into Prefect's database, one a week."""


def leave_decision(project: Project, store: Store) -> None:
    """The newest decision of the project."""
    from soilpipe.refresh.records import refreshes
    from soilpipe.refresh.words import HEADS, as_markdown

    records = refreshes(store)
    if not records:
        return
    newest = records[-1]
    create_markdown_artifact(
        key=KEY,
        markdown=as_markdown(newest, _curves(store, newest.pretrained or newest.encoder)),
        description=f"{project.project}, {newest.ended_at:%Y-%m-%d}: {HEADS[newest.outcome].lower()}",
    )


def _curves(store: Store, encoder: str) -> str | None:
    """The picture of the training as a data URL; None where there is none."""
    from PIL import Image

    from soilpipe.refresh.pictures import picture_key

    key = picture_key(encoder)
    if not store.exists(key):
        return None
    picture = Image.open(io.BytesIO(store.read_bytes(key))).convert("RGB")
    picture.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
    small = io.BytesIO()
    picture.save(small, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"
