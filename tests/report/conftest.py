"""A project with published series, written as the pipeline writes them, without running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from soilpipe import layout, schemas
from soilpipe.config import Project, load_project
from soilpipe.ingest.zarr_writer import write_image
from soilpipe.parquet import to_parquet
from soilpipe.store import Store

FIRST = pd.Timestamp("2024-03-05 23:00", tz="UTC")  # midnight in Paris
OWN = {"Collembola": 6, "Acari": 3, "Araneae": 0}
ANALYSIS = "3f2a91c0aabbccdd"


@dataclass(frozen=True)
class Season:
    project: Project
    store: Store

    def publish(
        self, scanner_id: str, states: Sequence[str], *, validation: str = "simulated", uncompared: Sequence[int] = ()
    ) -> list[str | None]:
        """Write slots, counts and detections of a scanner with these slot states; returns the scan ids. `uncompared`:
        the numbers of the slots whose scans were compared with nothing."""
        slots, counts, detections = [], [], []
        taxa = self.project.taxonomy.with_ancestors(tuple(OWN))
        times = [FIRST + timedelta(hours=6 * number) for number in range(len(states))]
        scans = [_scan_id(scanner_id, time, state) for time, state in zip(times, states, strict=True)]
        for number, (time, state, scan_id) in enumerate(zip(times, states, scans, strict=True)):
            place = {"site_id": "truffiere", "scanner_id": scanner_id, "slot": time, "state": state}
            delay = 3 * 3600.0 if state == "late" else 20.0
            taken = {"captured_at": time + timedelta(seconds=delay), "delay_s": delay, "dpi": 1200.0}
            alone = {"references_used": 0, "reason": "compared with nothing"} if number in uncompared else {}
            slots.append(place | {"scan_id": scan_id} | (taken if scan_id else {}) | alone)
            for taxon in taxa:
                holds = [name for name in OWN if name == taxon or taxon in self.project.taxonomy.ancestors(name)]
                numbers = {"n": OWN.get(taxon, 0), "n_total": sum(OWN[name] for name in holds)} if scan_id else {}
                rest = {"rank": self.project.taxonomy.find(taxon).rank, "date_local": time.date()}
                made = {
                    "taxon": taxon,
                    "validation": validation,
                    "analysis_id": ANALYSIS,
                    "complete_through": times[-1],
                }
                counts.append(place | numbers | rest | made)
            if scan_id:
                detections += [
                    place
                    | {"detection_id": f"{scan_id}-{number}", "scan_id": scan_id, "taxon": taxon, "score": 0.9}
                    | {"x_min": 10.0 * number, "y_min": 20.0, "x_max": 10.0 * number + 8, "y_max": 30.0}
                    | {"is_unknown": False, "review": "none", "analysis_id": ANALYSIS}
                    for number, taxon in enumerate(name for name, n in OWN.items() for _ in range(n))
                ]
        as_of = {"as_of": times[-1].isoformat()}
        for table, rows in (("slots", slots), ("counts", counts), ("detections", detections)):
            data = to_parquet(_table(schemas.SERIES[table], rows), as_of)
            self.store.write_bytes(layout.series_file(table, scanner_id, 2024), data)
        return scans

    def write_pixels(self, scan_id: str) -> None:
        """120 x 160 px of brown noise."""
        pixels = np.random.default_rng(7).integers(40, 120, (120, 160, 3)).astype(np.uint8)
        write_image([pixels], (120, 160), self.store, layout.image_zarr(scan_id), scan_id, 25400 / 1200)

    def report(self, name: str) -> str:
        return self.store.read_bytes(layout.report(name)).decode()


def _scan_id(scanner_id: str, time: datetime, state: str) -> str | None:
    if state not in ("observed", "late"):
        return None
    return layout.make_scan_id(scanner_id, time.replace(tzinfo=None), "ab12cd34" * 8)


def _table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{field.name: row.get(field.name) for field in schema} for row in rows], schema=schema)


@pytest.fixture
def season(tmp_path: Path) -> Callable[..., Season]:
    def make(*scanner_ids: str, **keys: Any) -> Season:
        document = {
            "project": "casca",
            "store": "./store",
            "timezone": "Europe/Paris",
            "sites": [{"id": "truffiere"}],
            "scanners": [{"id": name, "site": "truffiere", "inbox": f"./in/{name}", **keys} for name in scanner_ids],
            "taxa": "soil",
        }
        file = tmp_path / "soilpipe.yaml"
        file.write_text(yaml.safe_dump(document))
        project = load_project(file)
        return Season(project, Store(project.store))

    return make
