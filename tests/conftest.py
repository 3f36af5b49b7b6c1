"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow_fixtures import prefect
from tests.s3_servers import bucket, either, options, rclone, without_proxies

__all__ = ["bucket", "either", "options", "own_cache", "prefect", "rclone", "shared_data", "without_proxies"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep nothing in the cache of whoever runs them, and find nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """The threads that a benchmark sets for its process are those of its test alone: a ResNet's last bits differ by
    them."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and tables beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SOILPIPE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data here: {folder.name} is absent (set SOILPIPE_SHARED_DATA to its folder)")
    return folder
