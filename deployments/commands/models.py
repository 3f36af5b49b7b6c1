"""`soilpipe models`: the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, ProjectFile, opened
from deployments.commands.shown import plain, print_json, print_table

models = typer.Typer(no_args_is_help=True, help="The detectors of a project: which there are, and which is in use.")

Role = Annotated[Literal["detector"], typer.Option(help="What the model is for.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version, its first digits, a name, or `shipped`.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the decision.")]
Force = Annotated[bool, typer.Option("--force", help="Although its figures do not allow it; needs a --reason.")]
VALIDATION = {
    "none": "never judged",
    "simulated": "judged on simulated scenes only",
    "local": "judged on this project's scans",
}


@models.command("list")
def list_(project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", as_json: AsJson = False) -> None:
    """Every version, and which one is in use."""
    _, store = opened(project)
    from soilpipe.models import list_models

    found = list_models(store, role)
    if as_json:
        print_json(found)
        return
    rows = [
        (m.version, m.name, "in use" if m.champion else "", len(m.taxa), VALIDATION.get(m.validation, m.validation))
        for m in found
    ]
    print_table(f"Models, role {role}", ("version", "name", "", "taxa", "validation"), rows)


@models.command()
def show(
    version: Version, project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", as_json: AsJson = False
) -> None:
    """A version's card: what it finds, what it was trained on, what it is not good for."""
    _, store = opened(project)
    from soilpipe.detect.curves import curves_of
    from soilpipe.models import resolve
    from soilpipe.models import show as show_model

    model = show_model(store, role, resolve(store, role, version))
    curves = curves_of(store, model.version)
    if as_json:
        print_json({**plain(model), "curves": curves})
        return
    rows = [(key, value if isinstance(value, str) else _short(value)) for key, value in model.card.items()]
    if curves:
        rows.append(("curves", curves))
    caption = f"validation {model.validation}: {VALIDATION.get(model.validation, '')}"
    print_table(f"{model.version}{' (in use)' if model.champion else ''}", ("", ""), rows, caption)


@models.command()
def promote(
    version: Version,
    project: ProjectFile = DEFAULT_PROJECT,
    role: Role = "detector",
    reason: Reason = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Put a version to use, from the next scan on; nothing older is made again."""
    _, store = opened(project)
    from soilpipe.promotion import promote as promote_model

    decision = promote_model(store, role, version, reason, force, datetime.now(UTC))
    if as_json:
        print_json(decision)
        return
    typer.echo(f"{decision.version} replaces {decision.previous}, from the next scan on.")
    if decision.forced:
        typer.echo(f"Forced: {decision.reason}")


@models.command()
def rollback(
    project: ProjectFile = DEFAULT_PROJECT, role: Role = "detector", reason: Reason = "", as_json: AsJson = False
) -> None:
    """Bring the version before the present one back, from the next scan on."""
    _, store = opened(project)
    from soilpipe.models import rollback as roll_back

    decision = roll_back(store, role, reason, datetime.now(UTC))
    if as_json:
        print_json(decision)
    else:
        typer.echo(f"{decision.version} is back in place of {decision.previous}, from the next scan on.")


def _short(value: object) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 400 else f"{text[:400]} ... (whole with --json)"
