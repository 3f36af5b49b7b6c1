"""A work on all cores in either of two ways, and which of them is faster: for benchmarks of detection.

Threads that share one window wait for one another, on a busy machine for many times as long as they compute; a window a
core, in one thread each, has nothing to wait for, but takes the cores' caches apart. Detecting does the latter. What it
is compared with is measured in both ways, and the faster counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

APART = ", one a core"  # after the name of a work: as many at a time as there are cores, in one thread each
SHARED_TOLD, APART_TOLD = "threads share a window", "a window a core"

Work = Callable[[], object]


def one_a_core(works: Sequence[Work], cores: int) -> None:
    """Do the works, `cores` at a time, each in one thread."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores, "bench", torch.set_num_threads, (1,)) as pool:
            for done in [pool.submit(work) for work in works]:
                done.result()
    finally:
        torch.set_num_threads(threads)  # what a thread sets for itself holds for those that begin after it


def faster(rates: Mapping[str, float]) -> dict[str, str]:
    """For each work by which of its names its rate is higher: its own, or with `APART`."""
    return {
        name: max((way for way in (name, name + APART) if way in rates), key=lambda way: rates[way])
        for name in rates
        if not name.endswith(APART)
    }


def way_told(name: str) -> str:
    """In which way the work of a name uses the cores, in words."""
    return APART_TOLD if name.endswith(APART) else SHARED_TOLD
