"""What the runs of a project detect with, and what a change of champion means for them.

The champion is what promotions add up to; the project file may ask for something else (`detector:`), and then runs go
on with that, whatever is promoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.decisions import Decision
    from soilpipe.store import Store

CHAMPION = "champion"


def used_by_runs(project: Project, store: Store, role: str) -> str | None:
    """The version of a role that runs use now, `change` for the detector without weights; None where there is none, or
    the project file asks for a detector that the store does not have."""
    from soilpipe.decisions import in_use
    from soilpipe.detect.select import DetectorChoiceError, detector_in_use
    from soilpipe.roles import ModelError

    if role != "detector":
        return in_use(store, role)
    try:
        return detector_in_use(project, store)
    except (DetectorChoiceError, ModelError):
        return None


def from_when(project: Project, decision: Decision, before: str | None, now: str | None) -> str:
    """The end of a sentence on a decision: from when on runs go by it, or why they do not. `before`, `now`: what they
    use (`used_by_runs`)."""
    if decision.role != "detector" or project.detector == CHAMPION or before != now == decision.version:
        return ", from the next scan on."
    goes_on = "which the store does not have" if now is None else "so runs go on with that"
    if now not in (None, project.detector):
        goes_on += f" ({now})"
    return (
        f" as champion. But your project file says `detector: {project.detector}`, {goes_on}: write "
        "`detector: champion` there to have them use the champion."
    )


def how_to_use(project: Project, store: Store, version: str, name: str) -> str:
    """What puts a detector to use that was just trained, and what runs use until then."""
    how = (
        f"Use it with `detector: {version}` in the project file, or make it the champion with `soilpipe models promote "
        f"{version}`; that takes --force and a --reason while no figures speak for it."
    )
    if project.detector == CHAMPION:
        return how
    used = used_by_runs(project, store, "detector")
    if used == version:
        return f"By `detector: {project.detector}` in the project file, runs use it from the next scan on."
    until = "this one is promoted" if project.detector == name else "that line is changed, whatever is promoted"
    return (
        f"{how} The project file says `detector: {project.detector}`: runs go on with {used or 'none'} until {until}."
    )
