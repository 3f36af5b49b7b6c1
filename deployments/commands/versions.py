"""Which version a word on the command line stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from soilpipe.store import Store


def version_called(store: Store, role: str, wanted: str) -> str:
    """The version that a version, its first digits or a name stands for; of several of one name the newest, since that
    is the one just trained, and it is said which. ModelError when there is none."""
    from soilpipe.models import resolve, versions_named

    named = versions_named(store, role, wanted)
    if len(named) < 2:
        return resolve(store, role, wanted)
    others = ", ".join(named[:-1])
    typer.echo(f"{wanted}: the newest {role} of that name is meant, {named[-1]}; the older are {others}.", err=True)
    return named[-1]
