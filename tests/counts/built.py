"""Building the series of a made-up season, and reading its tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from soilpipe import layout
from soilpipe.counts.series import build_series
from soilpipe.parquet import from_parquet

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
MITE = ("Acari", (100, 100, 120, 120))
SPRINGTAIL = ("Collembola", (300, 300, 340, 320))


def table(season: Any, name: str, year: int = 2024, scanner_id: str = "A20") -> pd.DataFrame:
    data = season.store.read_bytes(layout.series_file(name, scanner_id, year))
    frame = from_parquet(data).to_pandas()
    return frame


def counts(season: Any, taxon: str, column: str = "n_total", year: int = 2024) -> list[int | None]:
    frame = table(season, "counts", year)
    values = frame[frame["taxon"] == taxon][column]
    return [None if pd.isna(value) else int(value) for value in values]


def build(season: Any, at: datetime, scanner_id: str = "A20") -> Any:
    return build_series(season.project, season.store, scanner_id, at)
