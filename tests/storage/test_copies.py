"""Files of an inbox on S3 are copied to this machine's disk to be read, and no copy stays behind, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soilpipe.config import Project
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.arrivals import Arrival
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Inbox, InboxError, Store
from tasks.isolated import Isolated, WorkerCrashedError
from tests.storage.test_ingest_anywhere import GOOD, SIX, kinds

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.mark.parametrize("fails", ["open_reader", "sha256_of", "write_image", "write_receipt", "told_checksums"])
def test_no_copy_stays_behind_when_ingest_fails(fails: str, place, monkeypatch, temporary: Path) -> None:
    seen: list[int] = []

    def fail(*_: object, **__: object) -> None:
        seen.append(len(list(temporary.iterdir())))
        raise MemoryError("no memory left")

    place.deliver(SIX, GOOD)
    monkeypatch.setattr(scan_module, fails, fail)
    with pytest.raises(MemoryError):
        pytest.fail(f"nothing went wrong: {place.run()}")
    assert seen == [int(place.s3)]  # the copy was there then, and is not now: see `temporary`
    monkeypatch.undo()


@pytest.mark.parametrize(("data", "kind"), [(GOOD, "accepted"), (GOOD[:-300], "refused"), (b"words", "refused")])
def test_no_copy_stays_behind_when_a_file_is_taken_or_refused(
    data: bytes, kind: str, place, monkeypatch, temporary: Path
) -> None:
    real, copies = scan_module.open_reader, []

    def opened(path: Path, **keys: object) -> object:
        copies.append(path)
        assert path.read_bytes() == data
        return real(path, **keys)

    monkeypatch.setattr(scan_module, "open_reader", opened)
    place.deliver(SIX, data)
    assert kinds(place.run()) == [kind]
    assert [path.is_relative_to(temporary) for path in copies] == [place.s3]
    assert list(temporary.iterdir()) == []


def killed_while_reading(project: Project, arrival: Arrival, now: datetime) -> None:
    """What a worker process runs here: it is killed in the middle of a file."""
    scan_module.open_reader = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    ingest_file(project, project.scanners[0], Store(project.store, project.storage_options), arrival, now)


def test_a_killed_workers_copy_is_removed_by_the_next_run(
    place, temporary: Path, monkeypatch, without_proxies: None
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary))  # a worker has the environment of its parent
    place.deliver(SIX, GOOD)
    (arrival,) = place.look().ready
    with closing(Isolated(60)) as worker, pytest.raises(WorkerCrashedError, match="SIGKILL"):
        worker.call(killed_while_reading, place.project, arrival, datetime.now(UTC))
    assert len(list(temporary.glob("*/download*"))) == int(place.s3)
    assert kinds(place.run()) == ["accepted"]
    assert list(temporary.iterdir()) == []


def test_a_full_temporary_disk_is_told_and_leaves_no_half_copy(place, monkeypatch, temporary: Path) -> None:
    if not place.s3:
        pytest.skip("on a disk nothing is copied")
    place.deliver(SIX, GOOD)
    real = Path.open

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, block: bytes) -> None:
            raise OSError(28, os.strerror(28))

    def opened(self: Path, *args: str, **keys: object) -> object:
        file = real(self, *args, **keys)
        return Full(file) if self.name.startswith("download") else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(InboxError, match=r"no space left .* TMPDIR"):
        place.run()
    monkeypatch.setattr(Path, "open", real)
    assert kinds(place.run()) == ["accepted"]


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_in_use_stays(
    place, temporary: Path, without_proxies: None
) -> None:
    if not place.s3:
        pytest.skip("on a disk nothing is copied")
    place.deliver(SIX, GOOD)
    script = (
        "import sys, time, tempfile, json\n"
        "from soilpipe.store import Inbox\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "inbox = Inbox(sys.argv[2], json.loads(sys.argv[3]))\n"
        "with inbox.open_local(inbox.list()[0]) as path:\n"
        "    print(path, flush=True)\n"
        "    time.sleep(600)\n"
    )
    arguments = [str(temporary), place.scanner.inbox, json.dumps(dict(place.scanner.inbox_options))]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    copy = Path(process.stdout.readline().strip())
    inbox = Inbox(place.scanner.inbox, place.scanner.inbox_options)
    (entry,) = inbox.list()
    with inbox.open_local(entry):
        assert copy.read_bytes() == GOOD  # in use: left alone
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert copy.exists()
    with inbox.open_local(entry) as own:
        assert not copy.exists() and own.read_bytes() == GOOD
