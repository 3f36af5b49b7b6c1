"""`soilpipe models`: the registry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, ProjectFile, opened
from deployments.commands.shown import plain, print_json, print_table
from deployments.commands.versions import version_called

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.decisions import Decision
    from soilpipe.evaluations import LastEvaluation
    from soilpipe.last_week import WeekCounts
    from soilpipe.models import Model
    from soilpipe.store import Store

models = typer.Typer(no_args_is_help=True, help="The models of a project: which there are, and which are in use.")

Role = Annotated[Literal["detector", "encoder", "classifier"], typer.Option(help="What the model is for.")]
With = Annotated[
    str | None,
    typer.Option("--with", metavar="VERSION", help="With --role encoder: the classifier that is put to use with it."),
]
Version = Annotated[
    str,
    typer.Argument(metavar="VERSION", help="A version, its first digits, a name (the newest so called), or `shipped`."),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the decision.")]
Force = Annotated[bool, typer.Option("--force", help="Although its figures do not allow it; needs a --reason.")]
FIGURES = {"AP50": "ap50", "precision": "precision", "recall": "recall", "F1": "f1", "count bias": "count_bias"}
VALIDATION = {
    "none": "never judged",
    "simulated": "judged on simulated scenes only",
    "local": "judged on this project's scans",
}


@models.command("list")
def list_(project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", as_json: AsJson = False) -> None:
    """Every version, and which one is in use: of the detector, the one that the project file asks for."""
    loaded, store = opened(project)
    from deployments.commands.in_use import used_by_runs
    from soilpipe.models import list_models
    from soilpipe.roles import HOW_MADE

    found = list_models(store, role)
    used = used_by_runs(loaded, store, role)
    if as_json:
        print_json([{**plain(m), "in_use": m.version == used} for m in found])
        return
    rows = [(m.version, m.name, _place(m, used), len(m.taxa), _validated(m)) for m in found]
    caption = "" if found else f"There is none yet; {HOW_MADE[role]} makes one."
    if role == "detector" and used not in [m.version for m in found]:
        caption = f"Runs use none of them: the project file says `detector: {loaded.detector}`."
    print_table(f"Models, role {role}", ("version", "name", "", "taxa", "validation"), rows, caption)


@models.command()
def show(
    version: Version, project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", as_json: AsJson = False
) -> None:
    """A version's card: what it finds, what it was trained on, under which licence, what it is not good for."""
    loaded, store = opened(project)
    from deployments.commands.in_use import used_by_runs
    from soilpipe.models import show as show_model
    from soilpipe.refresh.pictures import curves_of

    model = show_model(store, role, version_called(store, role, version))
    used = used_by_runs(loaded, store, role)
    curves = curves_of(store, role, model.version)
    if as_json:
        print_json({**plain(model), "in_use": model.version == used, "curves": curves})
        return
    card = model.card if role != "detector" else {"licence": "not stated", **model.card}
    rows = [(key, value if isinstance(value, str) else _short(value)) for key, value in card.items()]
    if curves:
        rows.append(("curves", curves))
    rows += _limits(model.evaluation) if role == "detector" else _judged(store, role, model.version)
    caption = f"validation {model.validation} from now on: {_validated(model)}"
    place = _place(model, used)
    print_table(f"{model.version}{f' ({place})' if place else ''}", ("", ""), rows, caption)


@models.command()
def promote(
    version: Version,
    project: ProjectFile = DEFAULT_PROJECT,
    role: Role = "detector",
    with_: With = None,
    reason: Reason = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Put a version to use, from the next scan on; nothing older is made again.

    Where the project file asks for another detector than the champion, runs go on with that one, and it says so.
    It must be no worse than the best that was ever in use, on held-out tiles of this project on which both were judged
    (`soilpipe evaluate detector`); or be forced, with a reason. An encoder and its classifier are judged and put to use
    as one.
    """
    loaded, store = opened(project)
    from deployments.commands.in_use import from_when, used_by_runs
    from soilpipe.promotion import promote as promote_model

    before = used_by_runs(loaded, store, role)
    now = datetime.now(UTC)
    version = version_called(store, role, version)
    if role == "detector":
        decision = promote_model(
            store, role, version, reason, force, now, loaded.taxonomy, last_week=_last_week(loaded, store, now)
        )
    else:
        from soilpipe.refresh.by_hand import promote_by_hand

        with_ = with_ and version_called(store, "classifier", with_)
        decision = promote_by_hand(loaded, store, role, version, now, classifier=with_, reason=reason, force=force)
    used = used_by_runs(loaded, store, role)
    if as_json:
        print_json({**plain(decision), "runs_use": used})
        return
    when = from_when(loaded, decision, before, used)
    typer.echo(f"{decision.version} replaces {decision.previous}{when}{_together(decision)}")
    typer.echo(f"By its figures: {decision.figures['verdict']}.")
    if decision.forced:
        typer.echo(f"Forced: {decision.reason}")
    if lost := _no_longer_named(store, decision):
        typer.echo(
            f"{decision.version} has no name for {lost}, which {decision.previous} names: of them, runs that use it "
            "count only what is above them."
        )


@models.command()
def rollback(
    project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", reason: Reason = "", as_json: AsJson = False
) -> None:
    """Bring the version before the present one back, from the next scan on."""
    loaded, store = opened(project)
    from deployments.commands.in_use import from_when, used_by_runs
    from soilpipe.models import rollback as roll_back

    before = used_by_runs(loaded, store, role)
    decision = roll_back(store, role, reason, datetime.now(UTC))
    used = used_by_runs(loaded, store, role)
    if as_json:
        print_json({**plain(decision), "runs_use": used})
    else:
        told = f"{decision.version} is back in place of {decision.previous}{from_when(loaded, decision, before, used)}"
        typer.echo(told + _bundle_in_use(decision))


def _last_week(project: Project, store: Store, now: datetime) -> Callable[[str, str], WeekCounts]:
    """Runs two versions over the scans of the last days, saying how far it is."""
    from soilpipe.detect.select import load_named_detector
    from soilpipe.last_week import week_counts

    def counts(version: str, present: str) -> WeekCounts:
        def told(done: int, of: int) -> None:
            typer.echo(f"\rBoth run over the scans of the last 7 days: {done} of {of}", nl=done == of, err=True)

        both = (load_named_detector(one, store) for one in (version, present))
        return week_counts(project, store, *both, now=now, progress=told)

    return counts


def _place(model: Model, used: str | None) -> str:
    """What a version is to the project's runs; the champion that they do not use is called so."""
    return "in use" if model.version == used else "champion, not in use" if model.champion else ""


def _validated(model: Model) -> str:
    """What stands behind the counts that a version makes, in words."""
    if model.validation == "none" and model.evaluation is not None:
        return "judged, but not so that counts can lean on it"
    return VALIDATION.get(model.validation, model.validation)


def _no_longer_named(store: Store, decision: Decision) -> str:
    """The taxa of the version before that a version lacks, one after the other."""
    from soilpipe.decisions import NONE
    from soilpipe.models import card_of

    if decision.role == "encoder" or decision.previous == NONE:
        return ""
    now = set(card_of(store, decision.role, decision.version)["taxa"])
    return ", ".join(one for one in card_of(store, decision.role, decision.previous)["taxa"] if one not in now)


def _together(decision: Decision) -> str:
    """What else of a bundle is in use from a decision on."""
    return "".join(f" In use with it: {role} {version}." for role, version in decision.together.items())


def _bundle_in_use(decision: Decision) -> str:
    """Encoder and classifier in use from a decision on a bundle on: a roll-back of one role takes back both."""
    if decision.role == "detector":
        return ""
    told = ", ".join(f"{role} {decision.version_of(role) or 'none'}" for role in ("encoder", "classifier"))
    return f" In use now: {told}."


def _judged(store: Store, role: str, version: str) -> list[tuple[str, str]]:
    """What the last refresh that made it, or the last judgement of its bundle, says of it."""
    from soilpipe.refresh.records import refreshes

    for record in reversed(refreshes(store)):
        if version in (record.encoder, record.classifier):
            when = f"{record.ended_at:%Y-%m-%d %H:%M} UTC"
            return [("refresh", f"{when}: {record.outcome}"), ("its verdict", record.words)]
    return [("judged", f"never by a refresh; `soilpipe models promote {version} --role {role}` judges it")]


def _limits(evaluation: LastEvaluation | None) -> list[tuple[str, str]]:
    """What the last evaluation says that it is good for."""
    if evaluation is None:
        return [("limits", "not known: it was never evaluated in this project (`soilpipe evaluate detector`)")]
    words = {"hold-out": "held-out tiles of this project", "random": "random tiles of this project"}
    on = f"{evaluation.images} {words.get(evaluation.sample, f'images of {evaluation.labels}')}"
    shortest = evaluation.shortest_found_mm
    figures = evaluation.figures
    told = [f"{name} {_figure(figures.get(key))}" for name, key in FIGURES.items()]
    return [
        ("evaluated", f"{evaluation.evaluated_at:%Y-%m-%d %H:%M} UTC on {on}, {evaluation.animals} animals"),
        ("its figures", ", ".join(told)),
        (
            "shortest length found",
            f"{shortest:.2g} mm: from there on recall is 0.5 or more"
            if shortest is not None
            else "none: no length from which on recall is 0.5 or more, or too few animals to tell",
        ),
    ]


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _short(value: object) -> str:
    """A value of a card in words: names with their numbers, one after the other."""
    text = _told(value)
    return text if len(text) <= 400 else f"{text[:400]} ... (whole with --json)"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_brackets(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_brackets(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def _in_brackets(value: object) -> str:
    return f"({_told(value)})" if isinstance(value, dict | list | tuple) else _told(value)
