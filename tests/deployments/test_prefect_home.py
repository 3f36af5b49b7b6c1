"""What a project tells Prefect: a setting that Prefect no longer knows would be passed over without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOLD = """
import json, os, sys
from deployments.prefect_home import use_project_home
before = set(os.environ)
use_project_home(sys.argv[1])
given = {name: os.environ[name] for name in set(os.environ) - before if name.startswith("PREFECT_")}
from prefect.settings import get_current_settings
print(json.dumps([given, get_current_settings().to_environment_variables(exclude_unset=True)]))
"""


def test_prefect_knows_every_setting_and_takes_it_over(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(tmp_path / "soilpipe.yaml")],
        cwd=REPOSITORY,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    given, known = json.loads(done.stdout)
    assert given["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE"] == "100"
    as_it_is = {name: value.lower() for name, value in known.items()}
    for name, value in given.items():
        if name.startswith("PREFECT_LOGGING_HANDLERS_"):
            continue  # a place in Prefect's logging.yml, which is not among its settings
        assert name in as_it_is, f"{name} is no setting of Prefect's"
        assert as_it_is[name] in (value.lower(), f"{value}.0"), name
