"""A worker process of its own for the code that a bad file can crash: C libraries that decode images.

A crash or a hang there fails one scan; the next one gets a new worker. The worker is started afresh, never forked
(s3fs and CUDA break under fork), and ends by itself when its parent does, however that ends.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from soilpipe.errors import SoilpipeError


class WorkerCrashedError(SoilpipeError):
    """The worker process died at this call."""


class WorkerTimeoutError(SoilpipeError, TimeoutError):
    """The worker process did not finish in time and was ended. Its words follow "reading it"."""


class RemoteError(Exception):
    """An error of the worker that cannot travel between processes; its traceback is the message."""


class Isolated:
    """Calls functions in one worker process, one at a time, in order."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def within(self, timeout_s: float) -> Self:
        """The same worker, which from now on has so long for a call."""
        self._timeout_s = timeout_s
        return self

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)` in the worker: a module-level function, small arguments, a small result.

        Raises what the function raises, WorkerCrashedError and WorkerTimeoutError.
        """
        connection = self._connected()
        try:
            connection.send((function.__module__, function.__qualname__, args))
            if not connection.poll(self._timeout_s):
                self.close()
                minutes = max(1, round(self._timeout_s / 60))
                after = "a minute" if minutes == 1 else f"{minutes} minutes"
                raise WorkerTimeoutError(f"was not done after {after}, and was given up")
            succeeded, value = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerCrashedError(self._how_it_ended()) from error
        if succeeded:
            return value
        raise value

    def close(self) -> None:
        """End the worker; the next call starts another one."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait()

    def _connected(self) -> Connection:
        if self._connection is None or self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        assert self._connection is not None
        return self._connection

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.isolated", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C is for the parent to handle; the worker then meets a closed connection.
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())

    def _how_it_ended(self) -> str:
        process = self._process
        code = process.wait(timeout=10) if process is not None else None
        self.close()
        if code is not None and code < 0:
            why = f"by signal {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                why += ", which is what the system does when memory runs out"
            return f"crashed the image library ({why})"
        return f"ended the worker process with exit code {code}"


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            module, name, args = connection.recv()
        except EOFError:
            return
        try:
            connection.send_bytes(_travelling(_answer(module, name, args)))
        except OSError:
            return


def _answer(module: str, name: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, getattr(importlib.import_module(module), name)(*args)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return False, error


def _travelling(answer: tuple[bool, Any]) -> bytes:
    """The answer pickled; in place of an exception that cannot be read back, one that can."""
    try:
        data = pickle.dumps(answer)
        pickle.loads(data)
        return data
    except Exception:
        return pickle.dumps((False, RemoteError(f"{type(answer[1]).__name__}: {answer[1]}")))


if __name__ == "__main__":
    # Several workers share the processor with the detector of their parents.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
