"""The flow's fixtures, shared with the other folders that run it."""

from __future__ import annotations

from tests.flow_fixtures import project

__all__ = ["project"]
