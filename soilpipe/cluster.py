"""The Dask cluster of a project (`dask:` in the project file), which takes the arrays where one machine is not enough.

A cluster is a help, never a need: while it does not answer, or has no workers, this machine does the work alone, to the
same bytes, and whoever asked is told so.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""How long a scheduler has to answer, and then its first worker to be there."""
ASK_AGAIN_S = 300.0
"""A cluster that did not answer is not asked again for so long: every scan would wait for it."""

LOOK_S = 10.0
"""How often a cluster that is waited for is asked whether it has any workers left."""

_silent: dict[str, tuple[float, str]] = {}
"""By address: since when (`time.monotonic`), and what was wrong."""


def active_client() -> Any:
    """The Dask client that is open in this process, or None. Without one distributed is not imported."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:  # its word for: there is none
        return None


def on_workers(client: Any, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function answers on every worker, by worker; nothing where the cluster was lost meanwhile."""
    try:
        answers: dict[str, Any] = client.run(function, *arguments)
    except (AttributeError, OSError, TimeoutError):  # the first is what a client without a scheduler raises
        return {}
    except Exception:  # one that is being closed since its scheduler is gone raises anything
        if client.status == "running":
            raise
        return {}
    return answers


def gathered(client: Any, submit: Callable[[], Sequence[Any]]) -> list[Any] | None:
    """What the futures give that ``submit`` makes; None where the cluster's workers, its scheduler or the way to it
    were lost: then nobody knows what is done. An error of the work itself is raised."""
    from distributed import CancelledError, KilledWorker, wait
    from distributed.comm.core import CommClosedError

    if client.status != "running":
        return None
    try:
        futures = submit()
    except Exception as error:  # by a scheduler that loses its workers meanwhile it can be anything
        log.warning("the Dask cluster took no work: %s: %s", type(error).__name__, error)
        return None
    try:
        while True:
            try:
                wait(futures, timeout=LOOK_S)
            except TimeoutError:
                if not _has_workers(client):
                    return None
            else:
                return list(client.gather(futures))
    except (CancelledError, CommClosedError, KilledWorker, TimeoutError):
        return None
    except Exception:
        if client.status == "running" and _has_workers(client):
            raise
        return None


def join_cluster(address: str | None) -> str | None:
    """Open a client of the cluster with the scheduler at ``address``, as the active one of this process, once.

    Returns why this process works alone, in words; None where it has the cluster, or none is wanted.
    """
    if address is None:
        return None
    since, why = _silent.get(address, (0.0, ""))
    if why and time.monotonic() - since < ASK_AGAIN_S:
        return why
    client = active_client()
    problem = _without_workers(client) if client is not None else _connect(address)
    if problem is None:
        _silent.pop(address, None)
        return None
    told = (
        f"the Dask cluster at {address} {problem}, so this machine worked alone. Start its scheduler and workers, or "
        "take `dask` out of the project file"
    )
    _silent[address] = (time.monotonic(), told)
    return told


def _connect(address: str) -> str | None:
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_S, name="soilpipe")  # the active one from here on
    except (OSError, TimeoutError, ValueError) as error:
        return f"does not answer ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except TimeoutError:
        return _without_workers(client)
    return None


def _has_workers(client: Any) -> bool:
    try:
        return bool(client.ncores())
    except (AttributeError, OSError):  # no scheduler
        return False
    except Exception:  # as in `on_workers`
        if client.status == "running":
            raise
        return False


def _without_workers(client: Any) -> str | None:
    """None while it has workers; else the client is closed, and why in words."""
    if _has_workers(client):
        return None
    client.close(timeout=1)
    return "has no workers, or does not answer any more"
