"""The project's own Prefect server with its UI: a child process that ends with the process which started it.

`python -m deployments.prefect_server PORT` is what runs in the child.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from deployments.prefect_home import RunningServer, answers, forget_server, remember_server, running_server
from soilpipe.errors import SoilpipeError

FIRST_PORT = 4200
STARTUP_S = 120.0
STOP_S = 15.0
PASSING = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What Prefect gives the servers that it starts by itself."""


class ServerError(SoilpipeError):
    """The Prefect server could not be started."""


@contextmanager
def prefect_server(home: Path, port: int | None = None) -> Iterator[RunningServer]:
    """A server to talk to: the one PREFECT_API_URL names, the project's own if it answers, else a new one.

    PREFECT_API_URL is set while this lasts; a server that this started is stopped at the end, others are left alone.
    """
    named = os.environ.get("PREFECT_API_URL")
    if named:
        if not answers(named):
            raise ServerError(
                f"PREFECT_API_URL is {named}, but no Prefect server answers there. Start it, or unset the variable"
                " to let soilpipe start one."
            )
        yield RunningServer(api_url=named, pid=0)
    elif server := running_server(home):
        yield _as_api(server)
    else:
        process, server = _start(home, port)
        try:
            remember_server(home, server)
            yield _as_api(server)
        finally:
            forget_server(home)
            os.environ.pop("PREFECT_API_URL", None)
            _stop(process)


def start_passing_server(home: Path) -> RunningServer:
    """A server for this process and its children alone: no UI, no schedules, told to nobody else.

    Prefect starts such a one by itself, but that one stays for ever when the process that started it is killed. To be
    called before prefect is imported: at exit the server is stopped after everything that still tells it something.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process, server = _start(home, port, log="run.log", settings=PASSING)
    atexit.register(_stop, process)
    return _as_api(server)


def _as_api(server: RunningServer) -> RunningServer:
    os.environ["PREFECT_API_URL"] = server.api_url
    return server


def _start(
    home: Path, port: int | None, *, log: str = "server.log", settings: Mapping[str, str] = MappingProxyType({})
) -> tuple[subprocess.Popen[bytes], RunningServer]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        output = (home / log).open("wb")
    except OSError as error:
        raise ServerError(f"The Prefect server has no place: {home} cannot be written ({error.strerror}).") from error
    chosen = _usable_port(port)
    api_url = f"http://127.0.0.1:{chosen}/api"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(chosen),
        "PREFECT_UI_API_URL": api_url,
        **settings,
    }
    with output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.prefect_server", str(chosen)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches the whole terminal group; the server has to outlive the runs that report to it.
            start_new_session=True,
        )
    until = time.monotonic() + STARTUP_S
    while time.monotonic() < until and process.poll() is None:
        if answers(api_url):
            return process, RunningServer(api_url=api_url, pid=process.pid)
        time.sleep(0.1)
    _stop(process)
    last_lines = "\n".join((home / log).read_text(errors="replace").splitlines()[-8:])
    raise ServerError(
        f"The Prefect server did not start on port {chosen} within {STARTUP_S:.0f} s. Its log, {home / log}, ends"
        " with:\n"
        f"{last_lines}\nTry another port (--port), and check that this disk has space."
    )


def _usable_port(port: int | None) -> int:
    if port is not None:
        if not _is_free(port):
            raise ServerError(f"Port {port} is in use. Choose another one with --port, or leave --port out.")
        return port
    for candidate in range(FIRST_PORT, FIRST_PORT + 100):
        if _is_free(candidate):
            return candidate
    raise ServerError(f"No port from {FIRST_PORT} to {FIRST_PORT + 99} is free. Choose one with --port.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent(parent: int) -> None:
    """A server whose starter was killed would hold the port and the database for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
