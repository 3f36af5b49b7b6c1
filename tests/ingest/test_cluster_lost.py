"""A Dask cluster that goes away while a scan is written, and one that was never there: the same bytes all the same."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from soilpipe import cluster as joined
from soilpipe.ingest.receipts import FileRecord
from soilpipe.ingest.zarr_writer import SHARD, describe_files, write_image
from soilpipe.store import Store

FOLDER, KEY = "scans/a/2024/a_20240101T000000_00000000", "scans/a/2024/a_20240101T000000_00000000/image.zarr"
IMAGE = np.random.default_rng(1).integers(0, 256, (3 * SHARD + 40, 700, 3), np.uint8)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "_silent", {})
    monkeypatch.setattr(joined, "ANSWER_S", 5.0)
    monkeypatch.setattr(joined, "LOOK_S", 0.5)


def written(folder: Path, after_first: Callable[[], None] = lambda: None) -> tuple[FileRecord, ...]:
    """Write the picture, with something that happens before its second band."""
    store = Store(folder)

    def bands() -> Iterator[np.ndarray]:
        for top in range(0, len(IMAGE), SHARD):
            if top == SHARD:
                after_first()
            yield IMAGE[top : top + SHARD]

    write_image(bands(), IMAGE.shape[:2], store, KEY, "a", None)
    return describe_files(store, FOLDER, KEY, IMAGE.shape[:2])


def workers_killed(cluster: Any, client: Any) -> None:
    processes = list(client.run(os.getpid).values())
    for nanny in list(cluster.workers.values()):
        nanny.close_gracefully()  # else it would start another
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def scheduler_gone(cluster: Any, client: Any) -> None:
    cluster.close()


@pytest.mark.parametrize("lost", [workers_killed, scheduler_gone])
@pytest.mark.parametrize("in_memory", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_a_lost_cluster_did_not_write_is_written_here(
    lost: Callable[[Any, Any], None], in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = written(tmp_path / "alone")
    if not in_memory:
        monkeypatch.setattr("soilpipe.ingest.shards.is_shared_with", lambda client: False)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert written(tmp_path / "lost", lambda: lost(cluster, client)) == wanted


def _closing(status: str) -> Any:
    """A client that closes itself since its scheduler went away between two questions."""

    def closed(*_: object, **__: object) -> None:
        raise RuntimeError("ConnectionPool is closed")

    return SimpleNamespace(run=closed, ncores=closed, submit=closed, status=status, close=lambda timeout: None)


@pytest.mark.parametrize("status", ["closing", "closed"])
def test_a_client_that_is_being_closed_is_lost_whatever_it_raises(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _closing(status)
    assert joined.on_workers(client, os.getpid) == {}
    assert joined.gathered(client, lambda: [client.submit(int, "1")]) is None
    monkeypatch.setattr(joined, "active_client", lambda: client)
    assert "has no workers" in (joined.join_cluster("tcp://127.0.0.1:9") or "")


def test_what_the_work_itself_raises_is_no_loss() -> None:
    with pytest.raises(RuntimeError, match="is closed"):
        joined.on_workers(_closing("running"), os.getpid)


def test_no_cluster_is_joined_where_none_is_named() -> None:
    assert joined.join_cluster(None) is None
    assert joined.active_client() is None


def test_a_scheduler_that_does_not_answer_is_told_and_not_asked_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "ANSWER_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    told = joined.join_cluster(address)
    assert told is not None
    assert address in told
    assert "does not answer" in told
    assert "take `dask` out of the project file" in told
    monkeypatch.setattr(joined, "_connect", lambda address: pytest.fail("it was asked again at once"))
    assert joined.join_cluster(address) == told
    assert joined.active_client() is None


@pytest.mark.slow
def test_a_cluster_is_joined_once_and_one_without_workers_is_left(tmp_path: Path) -> None:
    wanted = written(tmp_path / "alone")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        try:
            assert joined.join_cluster(cluster.scheduler_address) is None
            client = joined.active_client()
            assert client is not None
            assert joined.join_cluster(cluster.scheduler_address) is None
            assert joined.active_client() is client
            assert written(tmp_path / "joined") == wanted
            with pytest.raises(ValueError, match="invalid literal"):  # what is wrong with the work is not the cluster's
                joined.gathered(client, lambda: [client.submit(int, "no number")])
            cluster.scale(0)
            cluster.sync(cluster._correct_state)
            told = joined.join_cluster(cluster.scheduler_address)
            assert told is not None
            assert "has no workers" in told
            assert joined.active_client() is None
        finally:
            if (left := joined.active_client()) is not None:
                left.close()


def test_a_scan_goes_to_the_cluster_that_the_project_names(
    make_bench: Callable[..., Any],
    draw: Callable[..., Any],
    encode: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_here(*_: object, **__: object) -> None:
        raise AssertionError("the shards were written in this process")

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        bench = make_bench(dask=cluster.scheduler_address)
        bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
        try:
            monkeypatch.setattr("dask.compute", not_here)
            (outcome,) = bench.run()
        finally:
            if (left := joined.active_client()) is not None:
                left.close()
    assert (outcome.kind, outcome.reason) == ("accepted", None)


def test_a_scan_is_taken_without_it_and_the_run_says_so(
    make_bench: Callable[..., Any],
    draw: Callable[..., Any],
    encode: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joined, "ANSWER_S", 0.5)
    bench = make_bench(dask="tcp://127.0.0.1:9")
    bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
    (outcome,) = bench.run()
    assert outcome.kind == "accepted"
    assert "the Dask cluster at tcp://127.0.0.1:9 does not answer" in outcome.reason
    assert "this machine worked alone" in outcome.reason


@pytest.mark.slow
def test_a_cluster_lost_in_the_middle_of_a_scan_is_told_by_that_scan(
    make_bench: Callable[..., Any],
    draw: Callable[..., Any],
    encode: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:

        def lost_meanwhile(*given: Any) -> dict[str, str]:
            cluster.close()
            return write_image(*given)

        monkeypatch.setattr("soilpipe.ingest.scan.write_image", lost_meanwhile)
        bench = make_bench(dask=cluster.scheduler_address)
        bench.deliver("A20_2024-03-06_06H00M.png", encode(draw(), ".png"))
        (outcome,) = bench.run()
    assert outcome.kind == "accepted"
    assert "this machine worked alone" in outcome.reason
