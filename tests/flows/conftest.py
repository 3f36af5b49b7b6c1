"""The flow's fixtures, shared with the other folders that run it."""

from __future__ import annotations

from tests.flow_fixtures import prefect, project

__all__ = ["prefect", "project"]
