"""Workers of a Dask cluster while they compress."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, inspect
from types import SimpleNamespace
import numpy as np, zarr
from soilpipe.ingest.workers import ready_to_write

class Usage(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc = ctypes.CDLL("libc.so.6")
libc.mallinfo2.restype = Usage

def is_mapped():  # whether an array of a chunk's size comes from the system, and goes back to it
    before = libc.mallinfo2().hblkhd
    array = np.empty(786432, np.uint8)
    return libc.mallinfo2().hblkhd > before

class Client:
    def run(self, function):
        worker = SimpleNamespace(state=SimpleNamespace(nthreads=3))
        return function(worker) if inspect.signature(function).parameters else function()

told = [is_mapped()]
with ready_to_write(Client()):
    told += [is_mapped(), zarr.config.get("threading.max_workers")]
print(*told, is_mapped())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_memory_is_kept_while_they_write_and_given_back_afterwards() -> None:
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask starts its workers
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True", "False", "3", "True"]
