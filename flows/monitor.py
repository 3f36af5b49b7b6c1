"""The flow of one scanner: from its inbox to its published counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow
from prefect.runtime import flow_run

from flows.progress import Stage
from flows.run import Run
from flows.stages import (
    detect_undetected,
    ingest_arrivals,
    leave_artifacts,
    look_into_inbox,
    publish_counts,
    retry_void_conflicts,
)

if TYPE_CHECKING:
    from soilpipe.ingest.arrivals import Arrival

STAGES: tuple[Stage, ...] = ("ingest", "detect", "series")
BATCH = 200


def run_name() -> str:
    """`DIAMS_A20_O 2024-03-06 06:05`: the scanner, and when the run was due, UTC."""
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"{flow_run.parameters['scanner_id']} {due:%Y-%m-%d %H:%M}"


@flow(name="monitor-scanner", flow_run_name=run_name, persist_result=False)
def monitor_scanner(
    project_file: str,
    scanner_id: str,
    since: datetime | None = None,
    until: datetime | None = None,
    only: Stage | None = None,
    whole_inbox: bool = True,
) -> None:
    """Take in what a scanner sent, find the animals on its scans, and publish their counts.

    `since` and `until` (the latter not included) leave out scans captured outside of them; `only` does one stage.
    A run takes everything there is, and running it again changes nothing. What needs a person (a refused file, a
    missing inbox) stops nothing else; it is raised at the end as RunProblemsError, which makes the run red.

    With `whole_inbox` off, as scheduled runs have it, an inbox on S3 is not listed whole: what is recent always, the
    rest a part at a time, so that old files that come late are taken within a day or two (`soilpipe.ingest.look`).
    """
    stages = STAGES if only is None else (only,)
    with closing(Run(project_file, scanner_id, since, until, datetime.now(UTC), whole_inbox)) as run:
        if stages != ("series",):
            look_into_inbox(run)
        if "ingest" in stages:
            retry_void_conflicts(run)
        # A backlog of years is worked off in batches, so that its first counts can be read before its last scan is in.
        for batch in in_batches(run.ready if "ingest" in stages else ()):
            ingest_arrivals(run, batch)
            if "detect" in stages:
                detect_undetected(run)
            if "series" in stages:
                publish_counts(run)
        if "series" in stages:
            leave_artifacts(run)
        run.problems.raise_if_any(scanner_id)


def in_batches(arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
    """At most BATCH each, in order; one that is empty when there is nothing, for there may still be scans to detect."""
    for start in range(0, max(1, len(arrivals)), BATCH):
        yield arrivals[start : start + BATCH]
