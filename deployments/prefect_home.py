"""Where Prefect keeps its things, and how quiet it is. Called before anything imports prefect.

Each project has a `PREFECT_HOME` of its own beside its project file, so that two projects, or a project and
whatever else the same person does with Prefect, never share a database.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

HOME = Path(".soilpipe") / "prefect"
SERVER_FILE = "server.json"


@dataclass(frozen=True)
class RunningServer:
    """A Prefect server that `soilpipe serve` started: where its API is, and its process."""

    api_url: str
    pid: int

    @property
    def ui_url(self) -> str:
        return self.api_url.removesuffix("/api")


def prefect_home(project_file: str | Path) -> Path:
    """The project's own PREFECT_HOME; one that the environment names goes before it."""
    chosen = os.environ.get("PREFECT_HOME")
    return Path(chosen).expanduser() if chosen else Path(project_file).resolve().parent / HOME


def use_project_home(project_file: str | Path, *, verbose: bool = False) -> Path:
    """Point Prefect at the project's home and at its running server, if there is one.

    Sets environment variables only, so that every child process follows. Settings that the environment already has
    are a person's choice and stay. Once prefect is imported its settings are read, and this changes nothing for it.
    """
    home = prefect_home(project_file)
    if "prefect" in sys.modules:
        return home
    # Prefect makes its home, but not the folder above; it then waits two minutes for a server that has no place.
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        # The first start makes the database: half a minute on a slow disk is no error.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # Leases of the concurrency limits outlive the server. In memory, which is the default, a server that is
        # killed during a run forgets the lease but not the slot, and every later run of that scanner is cancelled.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # What becomes of each task is written once a second, not once a message: SQLite has one writer, refuses the
        # question for the limits of a task's tags while another writes, and Prefect asks again after two seconds.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Prefect's own log lines stay in its UI; on the terminal they would hide what matters.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "NOTSET" if verbose else "CRITICAL",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL") and (server := running_server(home)):
        os.environ["PREFECT_API_URL"] = server.api_url
    return home


def running_server(home: Path) -> RunningServer | None:
    """The server that `soilpipe serve` of this project started, when it answers."""
    try:
        server = RunningServer(**json.loads((home / SERVER_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if answers(server.api_url) else None


def remember_server(home: Path, server: RunningServer) -> None:
    home.mkdir(parents=True, exist_ok=True)
    unfinished = home / f"{SERVER_FILE}.{os.getpid()}.tmp"
    unfinished.write_text(json.dumps(asdict(server)))
    unfinished.replace(home / SERVER_FILE)


def forget_server(home: Path) -> None:
    (home / SERVER_FILE).unlink(missing_ok=True)


def answers(api_url: str, timeout: float = 2.0) -> bool:
    """Whether a Prefect API answers at this address."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
