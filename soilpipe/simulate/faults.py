"""Delivers a season's scans to an inbox as scanners and their uploads do: not always once, whole and on time.

Faults. *missing*: the scan never comes. *truncated*: the upload broke off, the file ends early. *twice*: the same bytes
come again under a second name of the same capture time, seconds written out (`..._06H00M.jpg` and
`..._06H00M00S.jpg`), as a re-configured uploader sends them; the preset `soil_scan` reads both. *late*: the scanner
was captured 2.5 h past its slot, so its name says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from soilpipe.simulate.spec import SimulationError
from soilpipe.simulate.write import file_name

FaultKind = Literal["missing", "truncated", "twice", "late"]
FAULTS: tuple[FaultKind, ...] = ("missing", "truncated", "twice", "late")
LATE_BY = timedelta(hours=2, minutes=30)
KEPT_SHARE = 0.6


@dataclass(frozen=True)
class Delivery:
    """What became of one scan of the season.

    slot: when the scan was due, UTC. captured_at: the time that its name tells, None when it never came. names: files
    in the inbox. counts: taxon to true number, of what a person could see in it.
    """

    scanner_id: str
    slot: datetime
    captured_at: datetime | None
    fault: FaultKind | None
    names: tuple[str, ...]
    counts: dict[str, int]


def choose_faults(n_scans: int, kinds: Sequence[FaultKind] = FAULTS, seed: int = 0) -> dict[int, FaultKind]:
    """Which scan of a season, by number, gets which fault: each kind once, never the first or the last scan."""
    if n_scans < len(kinds) + 2:
        raise SimulationError(f"a season of {n_scans} scans is too short for {len(kinds)} faults; make it longer.")
    numbers = np.random.default_rng([seed, 4]).permutation(np.arange(1, n_scans - 1))
    return {int(number): kind for number, kind in zip(numbers, kinds, strict=False)}


def deliver(folder: Path | str, inbox: Path | str, faults: dict[int, FaultKind] | None = None) -> tuple[Delivery, ...]:
    """Copy the scans of a season (see `write_season`) into `inbox`, which is created; the season stays as it is.

    faults: number of the scan in the season, from 0, to its fault. Returns one Delivery per scan, in order.
    Raises SimulationError where the season is unfinished, or a late scan would pass the next one.
    """
    folder, inbox = Path(folder), Path(inbox)
    truth = _truth(folder)
    taxa = {category["id"]: category["name"] for category in truth["categories"]}
    images = sorted(truth["images"], key=lambda image: image["date_captured"])
    wrong = sorted(set(faults or {}) - set(range(len(images))))
    if wrong:
        raise SimulationError(f"{folder.name} has {len(images)} scans; there is no scan {wrong[0]} to be at fault.")
    inbox.mkdir(parents=True, exist_ok=True)
    done = []
    for number, image in enumerate(images):
        slot = datetime.fromisoformat(image["date_captured"])
        following = images[number + 1]["date_captured"] if number + 1 < len(images) else None
        if (faults or {}).get(number) == "late" and following and datetime.fromisoformat(following) <= slot + LATE_BY:
            raise SimulationError(f"{image['file_name']} cannot come {LATE_BY} late: the next scan would be before it.")
        counts = dict.fromkeys(taxa.values(), 0)
        for annotation in truth["annotations"]:
            if annotation["image_id"] == image["id"]:
                counts[taxa[annotation["category_id"]]] += 1
        done.append(_deliver_one(folder, inbox, image, slot, (faults or {}).get(number), counts))
    return tuple(done)


def _truth(folder: Path) -> dict[str, Any]:
    path = folder / "truth.json"
    if not path.is_file():
        raise SimulationError(f"{folder.name} holds no truth.json: the season is unfinished. Write it again.")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _deliver_one(
    folder: Path, inbox: Path, image: dict[str, Any], slot: datetime, fault: FaultKind | None, counts: dict[str, int]
) -> Delivery:
    source = folder / image["file_name"]
    extension = source.suffix[1:]
    captured: datetime | None = slot
    names: tuple[str, ...] = (source.name,)
    if fault == "missing":
        captured, names = None, ()
    elif fault == "late":
        captured = slot + LATE_BY
        names = (file_name(image["scanner_id"], captured, extension),)
        shutil.copyfile(source, inbox / names[0])
    elif fault == "truncated":
        data = source.read_bytes()
        (inbox / names[0]).write_bytes(data[: int(len(data) * KEPT_SHARE)])
    else:
        shutil.copyfile(source, inbox / names[0])
        if fault == "twice":
            again = f"{image['scanner_id']}_{slot:%Y-%m-%d_%HH%MM%S}S.{extension}"
            if again == names[0]:
                raise SimulationError(f"{source.name} already tells its seconds: it has no second name to come under.")
            shutil.copyfile(source, inbox / again)
            names = (source.name, again)
    return Delivery(image["scanner_id"], slot, captured, fault, names, counts)
