"""The project file (YAML) as frozen pydantic models; every error names the file, the key and the fix.

document   the YAML text with its line numbers        errors    what is told about it
values     durations, times, sizes, ids, zones         places    inboxes, stores, file names, detectors
taxa       the taxa of a project                       checks    what scanners and sites must be to each other
models     Project, Scanner, Site                      loading   from the file to a Project
clock      faults of the devices' clocks               frozen    the base of the models
slot_plans when scans are expected, through time      refresh   the weekly pretraining
"""

from __future__ import annotations

from importlib.resources import files

from soilpipe.config.clock import ClockEntry
from soilpipe.config.errors import ConfigError, Problem
from soilpipe.config.frozen import FrozenModel
from soilpipe.config.loading import load_project
from soilpipe.config.models import Project, Scanner, Site
from soilpipe.config.refresh import RefreshPlan

TEMPLATE: str = files("soilpipe.config").joinpath("project_template.yaml").read_text(encoding="utf-8")
"""What `soilpipe init` writes: a project file with notes, which loads as it is."""

__all__ = [
    "TEMPLATE",
    "ClockEntry",
    "ConfigError",
    "FrozenModel",
    "Problem",
    "Project",
    "RefreshPlan",
    "Scanner",
    "Site",
    "load_project",
]
