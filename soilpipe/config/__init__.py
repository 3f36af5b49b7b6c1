"""The project file (YAML) as frozen pydantic models; every error names the file, the key and the fix.

document   the YAML text with its line numbers        errors    what is told about it
values     durations, times, sizes, ids, zones         places    inboxes, stores, file names, detectors
taxa       the taxa of a project                       checks    what scanners and sites must be to each other
models     Project, Scanner, Site                      loading   from the file to a Project
"""

from __future__ import annotations

from importlib.resources import files

from soilpipe.config.errors import ConfigError, Problem
from soilpipe.config.loading import load_project
from soilpipe.config.models import FrozenModel, Project, Scanner, Site

TEMPLATE: str = files("soilpipe.config").joinpath("project_template.yaml").read_text(encoding="utf-8")
"""What `soilpipe init` writes: a project file with notes, which loads as it is."""

__all__ = ["TEMPLATE", "ConfigError", "FrozenModel", "Problem", "Project", "Scanner", "Site", "load_project"]
