"""What a run leaves for a person in Prefect's UI: the newest scan's counts, its picture, the way to the pages.

The counts stand without them: whatever goes wrong here is a line in the run's log and no more.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client

from tasks.opened import opened

PICTURE_SIDE = 480
"""px. A picture goes into Prefect's database, so it is small, and only the newest few of a scanner stay."""
PICTURES_KEPT = 4


@task(name="leave-artifacts", task_run_name="artifacts of {scanner_id}", cache_policy=NO_CACHE, persist_result=False)
def leave_artifacts(project_file: str, scanner_id: str) -> None:
    """Counts and picture of the newest scan, and the link to the report."""
    for leave in (leave_counts, leave_picture, leave_report_link):
        try:
            leave(project_file, scanner_id)
        except Exception as error:
            get_run_logger().warning("%s: %s: %s", leave.__name__, type(error).__name__, error)


def leave_counts(project_file: str, scanner_id: str) -> None:
    """A table of taxa found on the newest scan that has counts; says in words what stands behind them."""
    from soilpipe.report.newest import newest_counts

    project, store = opened(project_file)
    newest = newest_counts(project, store, scanner_id)
    if newest is not None:
        doubt = f" Mind: {newest.doubt}." if newest.doubt else ""
        create_table_artifact(
            key=artifact_key("counts", scanner_id),
            table=[dict(row) for row in newest.rows],
            description=f"**{scanner_id}, {newest.when}**: {newest.animals} animals. {newest.validation}{doubt}",
        )


def leave_picture(project_file: str, scanner_id: str) -> None:
    """The newest scan with a box around everything found, small enough for Prefect's database."""
    from PIL import Image

    from soilpipe import layout

    _, store = opened(project_file)
    file = layout.report(f"{scanner_id}/overlay-1.png")
    if not store.exists(file):
        return
    picture = Image.open(io.BytesIO(store.read_bytes(file))).convert("RGB")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    small = io.BytesIO()
    picture.save(small, "JPEG", quality=70)
    key = artifact_key("picture", scanner_id)
    data = base64.b64encode(small.getvalue()).decode()
    create_image_artifact(key=key, image_url=f"data:image/jpeg;base64,{data}", description=f"`{file}` in full size.")
    _keep_newest(key, PICTURES_KEPT)


def leave_report_link(project_file: str, scanner_id: str) -> None:
    """Where the pages lie. A browser opens no local file from Prefect's UI, so the address is there to be copied."""
    from soilpipe import layout

    project, store = opened(project_file)
    index, page = layout.report("index.html"), layout.report(f"{scanner_id}.html")
    where = [f"{store.root}/{key}" for key in (page, index)]
    addresses = [Path(one).as_uri() if one.startswith("/") else one for one in where]
    create_markdown_artifact(
        key=artifact_key("report", scanner_id),
        markdown=f"Page of **{scanner_id}**: `{addresses[0]}`\n\nAll scanners of {project.project}: `{addresses[1]}`",
        description="The pages with pictures and plots; copy an address into the browser.",
    )


def artifact_key(kind: str, scanner_id: str) -> str:
    """Prefect's keys have lower case letters, digits and dashes only; ids may differ by `_` and `-` alone."""
    plain = re.sub(r"[^a-z0-9-]+", "-", scanner_id.lower())
    same = "" if plain == scanner_id else f"-{hashlib.sha256(scanner_id.encode()).hexdigest()[:6]}"
    return f"{kind}-{plain}{same}"


def _keep_newest(key: str, kept: int) -> None:
    # The client's own read_artifacts sends nulls that its server refuses (3.8.8).
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 50}
    with get_client(sync_client=True) as client:
        for old in client.request("POST", "/artifacts/filter", json=wanted).json()[kept:]:
            client.delete_artifact(old["id"])
