"""A project with an inbox, pictures in every format, and files delivered as scanners do."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from soilpipe.config import Project, Scanner, Site
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.scan import Outcome, ingest_file
from soilpipe.store import Store

NOW = datetime(2024, 4, 1, 12, tzinfo=UTC)


def picture(height: int = 90, width: int = 130, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 RGB: soil-like clutter."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, suffix: str, **options: object) -> bytes:
    """The bytes of a file of that format; options are the encoder's."""
    if suffix in (".tif", ".tiff"):
        file = io.BytesIO()
        photometric = "rgb" if image.ndim == 3 and image.shape[2] >= 3 else "minisblack"
        tifffile.imwrite(file, image, **{"photometric": photometric, "rowsperstrip": 16, "metadata": None, **options})
        return file.getvalue()
    if suffix == ".jp2":
        return imagecodecs.jpeg2k_encode(image, **{"codecformat": "jp2", "reversible": True, "level": 0, **options})
    keys = {"quality": cv2.IMWRITE_JPEG_QUALITY, "progressive": cv2.IMWRITE_JPEG_PROGRESSIVE}
    parameters = [value for key, given in options.items() for value in (keys[key], given)]
    flipped = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    return cv2.imencode(suffix, flipped, parameters)[1].tobytes()


@dataclass
class Bench:
    """A project on disk and what one does with it."""

    folder: Path
    project: Project
    now: datetime = NOW
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.project.store, self.project.storage_options)
        for scanner in self.project.scanners:
            Path(scanner.inbox).mkdir(parents=True, exist_ok=True)

    @property
    def scanner(self) -> Scanner:
        return self.project.scanners[0]

    def deliver(self, name: str | bytes, data: bytes, *, age_s: float = 3600, scanner: Scanner | None = None) -> Path:
        path = Path((scanner or self.scanner).inbox) / os.fsdecode(name)
        path.write_bytes(data)
        stamp = self.now.timestamp() - age_s
        os.utime(path, (stamp, stamp))
        return path

    def run(self, scanner: Scanner | None = None) -> list[Outcome]:
        scanner = scanner or self.scanner
        arrivals = find_arrivals(self.project, scanner, self.store, self.now)
        return [ingest_file(self.project, scanner, self.store, arrival, self.now) for arrival in arrivals.ready]

    def bytes_of_the_store(self) -> dict[str, tuple[bytes, int]]:
        root = Path(self.project.store)
        files = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(autouse=True)
def files_are_as_old_as_they_say() -> Iterator[None]:
    """Tests give files an age by the time that programs can set; the other one is always that of the test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("soilpipe.ingest.rest.written", lambda entry: entry.modified)
        yield


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[..., Bench]:
    """A bench with scanners of these ids; ``shared``: in one inbox. Other keys go to every scanner or the project."""

    def make(*ids: str, shared: bool = False, **keys: object) -> Bench:
        of_scanner = {key: keys.pop(key) for key in list(keys) if key in Scanner.model_fields}
        of_scanner = {"site": "wood", "timezone": "Europe/Paris", **of_scanner}
        scanners = tuple(
            Scanner(id=one, inbox=str(tmp_path / "inbox" / ("all" if shared else one)), **of_scanner)
            for one in ids or ("A20",)
        )
        project = Project(
            project="casca",
            path=tmp_path / "soilpipe.yaml",
            store=str(tmp_path / "store"),
            timezone="Europe/Paris",
            sites=(Site(id="wood"),),
            scanners=scanners,
            **keys,
        )
        return Bench(tmp_path, project)

    return make


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encoded
