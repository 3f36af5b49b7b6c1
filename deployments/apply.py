"""One Prefect deployment per scanner, one for the weekly refresh and one for the weekly upkeep, kept equal to the
project file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    State,
    StateType,
    VersionInfo,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import EntrypointType, Flow
from prefect.states import Crashed

from deployments.schedules import refresh_schedule, schedules_of, upkeep_schedule
from flows.monitor import monitor_scanner
from flows.pretrain import refresh_pretraining
from flows.upkeep import tidy_store
from soilpipe import __version__
from soilpipe.errors import SoilpipeError
from tasks.pretrain import GPU

if TYPE_CHECKING:
    from soilpipe.config import Project, RefreshPlan, Scanner

OURS = "soilpipe"
REFRESH = "refresh"
"""The tag by which the refresh of a project is told from its scanners, one of which may have the project's name."""
UPKEEP = "upkeep"
PAGE = 200
"""What Prefect's API returns at most at once."""


class DeploymentError(SoilpipeError):
    """A deployment could not be applied."""


def project_tag(project: Project) -> str:
    """By this tag the deployments of a project are found again, also those of scanners that are gone."""
    return f"project:{project.project}"


class ProjectDeployment(RunnerDeployment):
    """A deployment that is sent to the server only where it differs from what the server has.

    Applying one over again, as Prefect does, throws away its scheduled runs; and leaves active the schedules that
    are no longer asked for.
    """

    async def aapply(self, *args: Any, **kwargs: Any) -> UUID:
        # Else Prefect takes the commit of whatever git checkout it is started in, and the version always differs.
        kwargs["version_info"] = VersionInfo(type="prefect:simple", version=self.version or "")
        async with get_client() as client:
            try:
                existing = await client.read_deployment_by_name(self.full_name)
            except ObjectNotFound:
                return await super().aapply(*args, **kwargs)
            _belongs(existing, self)
            wanted = {schedule.slug for schedule in self.schedules or []}
            for schedule in existing.schedules:
                if schedule.slug not in wanted:
                    await client.delete_deployment_schedule(existing.id, schedule.id)
            if differs(self, existing):
                return await super().aapply(*args, **kwargs)
            return existing.id


def deployment_of(project: Project, scanner: Scanner) -> ProjectDeployment:
    """The deployment `monitor-scanner/<scanner_id>`, not yet sent to a server."""
    deployment = ProjectDeployment.from_flow(
        monitor_scanner,
        name=scanner.id,
        schedules=list(schedules_of(scanner)),
        parameters={"project_file": str(project.path), "scanner_id": scanner.id, "whole_inbox": False},
        description=f"What scanner {scanner.id} at site {scanner.site} sent: taken in, detected, counted.",
        tags=[OURS, project_tag(project), f"site:{scanner.site}"],
        version=__version__,
        # A run takes everything there is, so one that finds another at work has nothing to do.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, ProjectDeployment)
    return deployment


def refresh_deployment(project: Project, plan: RefreshPlan) -> ProjectDeployment:
    """The deployment `refresh-pretraining/<project>`, not yet sent to a server."""
    return _weekly(
        project,
        refresh_pretraining,
        project.project,
        refresh_schedule(plan, project.timezone),
        REFRESH,
        f"What the unlabelled scans of {project.project} teach, judged before it is used.",
    )


def upkeep_deployment(project: Project) -> ProjectDeployment:
    """The deployment `upkeep/<project>-upkeep`, not yet sent to a server."""
    return _weekly(
        project,
        tidy_store,
        f"{project.project}-upkeep",
        upkeep_schedule(project.timezone),
        UPKEEP,
        f"What killed runs and refused files left in the store of {project.project}: removed when old.",
    )


def _weekly(
    project: Project, flow: Flow[Any, Any], name: str, schedule: Any, tag: str, description: str
) -> ProjectDeployment:
    """A flow over the whole project by one schedule; a run that finds another at work is cancelled."""
    deployment = ProjectDeployment.from_flow(
        flow,
        name=name,
        schedules=[schedule],
        parameters={"project_file": str(project.path)},
        description=description,
        tags=[OURS, project_tag(project), tag],
        version=__version__,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, ProjectDeployment)
    return deployment


def ensure_gpu_limit() -> None:
    """Work on a GPU waits for its turn: one at a time, unless somebody has set the limit `gpu` to more."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU, limit=1))


def remove_departed(project: Project) -> tuple[str, ...]:
    """Delete this project's deployments of scanners that its file no longer names, and of the refresh where it says
    never; in words what was removed."""
    declared = {scanner.id for scanner in project.scanners}
    removed: list[str] = []
    with get_client(sync_client=True) as client:
        for deployment in _deployments(client, project_tag(project)):
            if UPKEEP in deployment.tags:
                continue
            is_refresh = REFRESH in deployment.tags
            if (project.refresh is None) if is_refresh else deployment.name not in declared:
                client.delete_deployment(deployment.id)
                removed.append("The weekly refresh" if is_refresh else f"Scanner {deployment.name}")
    return tuple(sorted(removed))


def close_abandoned_runs(project: Project) -> int:
    """Mark runs as crashed that a killed `serve` left behind as running; how many.

    To be called before anything new is started: until then, no run of this project's deployments can be at work.
    Otherwise each would hold its scanner's place, and the runs to come would be cancelled, until its lease ends.
    """
    at_work = FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
        )
    )
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS, project_tag(project)]))
    crashed: State[None] = Crashed(
        message="`soilpipe serve` was ended while this run was at work; the next run finishes it."
    )
    with get_client(sync_client=True) as client:
        abandoned = client.read_flow_runs(
            flow_run_filter=at_work, deployment_filter=ours, sort=FlowRunSort.ID_DESC, limit=PAGE
        )
        for run in abandoned:
            client.set_flow_run_state(run.id, crashed, force=True)
    return len(abandoned)


def differs(wanted: RunnerDeployment, existing: DeploymentResponse) -> bool:
    """Whether the server's deployment is another one than the project file asks for."""
    limit = existing.global_concurrency_limit
    return (
        existing.entrypoint != wanted.entrypoint
        or existing.parameters != wanted.parameters
        or existing.description != wanted.description
        or existing.version != wanted.version
        or set(existing.tags) != set(wanted.tags)
        or (limit.limit if limit else None) != wanted.concurrency_limit
        or existing.concurrency_options != wanted.concurrency_options
        or existing.parameter_openapi_schema != wanted._parameter_openapi_schema.model_dump(exclude_unset=True)
        or _by_slug(existing.schedules) != _by_slug(wanted.schedules or [])
    )


def _by_slug(schedules: list[Any]) -> dict[str | None, str]:
    # Whether one is active is not compared: what a person switched off in the UI stays off.
    return {schedule.slug: schedule.schedule.model_dump_json() for schedule in schedules}


def _belongs(existing: DeploymentResponse, wanted: RunnerDeployment) -> None:
    foreign = {tag for tag in existing.tags if tag.startswith("project:")} - set(wanted.tags)
    if foreign:
        raise DeploymentError(
            f"The Prefect server already has a deployment {wanted.full_name}, of another project"
            f" ({', '.join(sorted(foreign)).removeprefix('project:')}). Rename the scanner (or the"
            " project) in one of the two project files, or use another Prefect server."
        )


def _deployments(client: SyncPrefectClient, tag: str) -> list[DeploymentResponse]:
    found: list[DeploymentResponse] = []
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS, tag]))
    while True:
        page = client.read_deployments(
            deployment_filter=wanted, sort=DeploymentSort.NAME_ASC, limit=PAGE, offset=len(found)
        )
        found.extend(page)
        if len(page) < PAGE:
            return found
