"""Series and registry on S3, against two servers: the same tables, the same bytes, the same checks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.counts.query import query_counts
from soilpipe.counts.series import build_series
from soilpipe.counts.verify import rebuild, verify
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.models import ModelError, model_path, register
from soilpipe.store import Store
from tests.s3_servers import make_bucket

START = datetime(2024, 3, 6, tzinfo=UTC)
MITE = ("Acari", (100, 100, 120, 120))


def test_series_on_s3_are_those_on_disk(season: Any, either: dict[str, Any], request: pytest.FixtureRequest) -> None:
    bucket = make_bucket(either, request)

    def fill() -> None:
        season.publish(season.analysis())
        for hours in (0, 6, 18):
            season.scan(START + timedelta(hours=hours), [MITE])
        build_series(season.project, season.store, "A20", START + timedelta(hours=20))

    fill()
    on_disk = season.files()
    season.store = Store(f"s3://{bucket}/prefix", either)
    season.refresh()
    fill()
    assert season.files() == on_disk
    assert build_series(season.project, season.store, "A20", START + timedelta(hours=21)).changed == ()
    assert verify(season.project, season.store) == []
    for entry in season.store.list("series"):
        season.store.delete(entry.key)
    rebuild(season.project, season.store, START + timedelta(hours=22))
    assert season.files() == on_disk
    frame = query_counts(season.project, season.store, taxa=["Acari"], by="day")
    assert frame["n_sum"].tolist() == [3]


def test_a_model_on_s3_is_copied_once_and_checked(
    either: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    card = {
        "name": "tiny",
        "taxa": ["Acari"],
        "um_per_px": 21.17,
        "threshold": 0.4,
        "validation": "none",
        "border_mm": 4.0,
        "border_tolerance": 1.3,
        "heads": ["fine"],
    }
    save_detector(tmp_path / "m", CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval(), card)
    store = Store(f"s3://{make_bucket(either, request)}/prefix", either)
    version = register(store, "detector", tmp_path / "m")
    folder = model_path(store, "detector", version)
    assert load_detector(folder).info.version == version
    assert model_path(store, "detector", version) == folder
    (folder / "card.json").write_text("{}")
    assert load_detector(model_path(store, "detector", version)).info.version == version  # fetched again
    store.write_bytes(f"models/detector/{version}/card.json", b"{}")
    (folder / "card.json").unlink()
    with pytest.raises(ModelError, match="damaged"):
        model_path(store, "detector", version)
