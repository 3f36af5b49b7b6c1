"""The series open as they are in what analysts use: the whole folder, with its years, in one line."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from soilpipe.counts.series import build_series
from soilpipe.schemas import COUNTS

START = datetime(2023, 12, 31, 12, tzinfo=UTC)
MITE = ("Acari", (100, 100, 120, 120))


@pytest.fixture
def folder(season: Any, make_scanner: Any) -> Path:
    """Two scanners, one with an id full of digits, over new year; one scan with animals, one without, one gap."""
    season.refresh(make_scanner("A20"), make_scanner("007_b"))
    for scanner_id in ("A20", "007_b"):
        season.publish(season.analysis(), scanner_id=scanner_id)
        season.scan(START, [], scanner_id=scanner_id)
        season.scan(START + timedelta(hours=18), [MITE], scanner_id=scanner_id)
        build_series(season.project, season.store, scanner_id, START + timedelta(hours=30))
    return Path(season.store.root) / "series"


def test_pandas_reads_the_whole_folder(folder: Path) -> None:
    for name in ("slots", "counts", "detections"):
        frame = pd.read_parquet(folder / name)
        assert set(frame["scanner_id"]) == {"A20", "007_b"}
        assert set(frame["year"].astype(int)) <= {2023, 2024}
        assert str(frame["slot"].dt.tz) == "UTC"
    counts = pd.read_parquet(folder / "counts")
    acari = counts[(counts["taxon"] == "Acari") & (counts["scanner_id"] == "007_b")].sort_values("slot")
    assert [None if pd.isna(n) else int(n) for n in acari["n"]] == [0, None, None, 1, None, None]


def test_duckdb_reads_the_whole_folder(folder: Path) -> None:
    rows = duckdb.sql(
        f"""select scanner_id, year, sum(n_total)::int as n, count(n_total)::int as slots
            from read_parquet('{folder}/counts/*/*.parquet', hive_partitioning = true)
            where taxon = 'Acari' group by all order by all"""
    ).fetchall()
    frame = duckdb.sql(f"from read_parquet('{folder}/counts/*/*.parquet')").df()
    assert str(frame["slot"].dtype).startswith("datetime64[us, ")
    assert rows == [("007_b", 2023, 0, 1), ("007_b", 2024, 1, 1), ("A20", 2023, 0, 1), ("A20", 2024, 1, 1)]


def test_arrow_reads_the_whole_folder_as_r_does(folder: Path) -> None:
    dataset = ds.dataset(folder / "counts", partitioning="hive")
    assert dataset.schema.names == [*COUNTS.names, "year"]
    assert dataset.to_table(filter=ds.field("year") == 2024).num_rows == 2 * 4 * len(
        set(dataset.to_table()["taxon"].to_pylist())
    )


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed here")
def test_r_reads_the_whole_folder(folder: Path) -> None:
    code = f'stopifnot(requireNamespace("arrow")); d <- arrow::open_dataset("{folder}/counts"); cat(nrow(d))'
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, timeout=120)
    if "arrow" in done.stderr and done.returncode:
        pytest.skip("R is here without its arrow package")
    assert done.returncode == 0, done.stderr


def test_the_small_tables_open_and_join(folder: Path) -> None:
    joined = duckdb.sql(
        f"""select c.taxon, t.parent, s.depth_cm, p.latitude
            from read_parquet('{folder}/counts/*/*.parquet') c
            join '{folder}/taxa.parquet' t using (taxon)
            join '{folder}/scanners.parquet' s using (scanner_id)
            join '{folder}/sites.parquet' p on c.site_id = p.site_id limit 1"""
    ).fetchall()
    assert joined[0][3] == 43.6


def test_nothing_but_whole_files_lies_in_the_series(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert path.suffix == ".parquet" or path.is_dir()
        assert "=" not in path.name or path.name.startswith("year=")
