"""Only what can pass by itself is tried again."""

from __future__ import annotations

import errno

import pytest

from soilpipe.errors import SoilpipeError
from soilpipe.store import StoreError, StoreFullError
from tasks.ingest import ScanRefusedError
from tasks.retries import may_pass


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(),
        OSError(errno.EIO, "input/output error"),
        caused_by(StoreError("cannot write"), OSError(errno.EIO, "input/output error")),
    ],
)
def test_io_errors_and_time_outs_are_tried_again(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize(
    "error",
    [
        ScanRefusedError("truncated"),
        SoilpipeError("no"),
        ValueError("a bug"),
        OSError("cannot identify image file"),
        FileNotFoundError(errno.ENOENT, "gone"),
        caused_by(StoreFullError("full"), OSError(errno.ENOSPC, "no space")),
        None,
    ],
)
def test_what_stays_as_it_is_is_not_tried_again(error: Exception | None) -> None:
    assert not may_pass(error)
