"""A project as frozen models: what everything else is handed."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from soilpipe.config import places, values
from soilpipe.config.clock import ClockEntry, check_apart, clock_snapshot
from soilpipe.config.errors import ConfigError, Problem, shown, suggestion
from soilpipe.config.frozen import FrozenModel, UtcTime
from soilpipe.config.refresh import RefreshPlan
from soilpipe.config.slot_plans import EarlierSlots, SlotTimes
from soilpipe.taxonomy import SOIL, Taxonomy

DEFAULT_SLOTS = (time(0), time(6), time(12), time(18))


def _in_order(plans: tuple[EarlierSlots, ...]) -> tuple[EarlierSlots, ...]:
    if any(after.until <= before.until for before, after in pairwise(plans)):
        raise ValueError("the plans of slots are not in order of time. Sort them by `until`")
    return plans


def _apart(entries: tuple[ClockEntry, ...]) -> tuple[ClockEntry, ...]:
    check_apart(entries)
    return entries


Id = Annotated[str, BeforeValidator(values.parse_id)]
Zone = Annotated[str, BeforeValidator(values.parse_timezone)]
Duration = Annotated[timedelta, BeforeValidator(values.parse_duration)]
Size = Annotated[int, BeforeValidator(values.parse_size)]
Place = Annotated[str, BeforeValidator(places.parse_place)]
Filename = Annotated[str, BeforeValidator(places.parse_filename)]
Orientation = Annotated[int, BeforeValidator(values.parse_orientation)]
ColourChoice = Annotated[Literal["as_is", "srgb"], BeforeValidator(values.parse_colours)]
DoneMarker = Annotated[str, BeforeValidator(places.parse_done_marker)]
Latitude = Annotated[float, BeforeValidator(values.parse_latitude)]
Longitude = Annotated[float, BeforeValidator(values.parse_longitude)]
Dpi = Annotated[float, BeforeValidator(values.parse_dpi)]
WindowArea = Annotated[float, BeforeValidator(values.parse_window)]
Depth = Annotated[float, BeforeValidator(values.parse_depth)]
Pixels = Annotated[int, BeforeValidator(values.parse_pixels)]
Boolean = Annotated[bool, BeforeValidator(values.parse_boolean)]
EarlierPlans = Annotated[tuple[EarlierSlots, ...], AfterValidator(_in_order)]
ClockEntries = Annotated[tuple[ClockEntry, ...], AfterValidator(_apart)]
Scheduler = Annotated[str, BeforeValidator(places.parse_scheduler)]
DetectorName = Annotated[str, BeforeValidator(places.parse_detector)]


class Site(FrozenModel):
    """A place; decimal degrees, WGS 84."""

    id: Id
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class Scanner(FrozenModel):
    """One device in the soil. `inbox` is an absolute folder or s3://bucket/prefix; times are UTC.

    `until` is the first instant that does not belong to the scanner any more. `orientation`: degrees clockwise that
    turn a scan upright; pages show it so, boxes stay in the frame of the file. `colours`: as in the file, or turned to
    sRGB at ingest by the profile in the file; scans that are in the store stay as they are.
    `dpi`: used where a file says none.
    `done_marker`: what is added to a file's name for the file that says it is whole, such as ".done".
    `slots`: the plan of now, and `earlier_slots` those that held before it, in order of time.
    `clock`: what was wrong with the device's clock, from the list `clock:` at the top of the file.
    """

    model_config = ConfigDict(populate_by_name=True)

    id: Id
    site: Id
    inbox: Place
    inbox_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    filename: Filename = "soil_scan"
    dpi: Dpi | None = None
    window_cm2: WindowArea | None = None
    depth_cm: Depth | None = None
    orientation: Orientation = 0
    colours: ColourChoice = "as_is"
    timezone: Zone
    slots: SlotTimes = DEFAULT_SLOTS
    earlier_slots: EarlierPlans = ()
    late_after: Duration = timedelta(hours=2)
    missing_after: Duration = timedelta(hours=24)
    settle: Duration = timedelta(minutes=2)
    done_marker: DoneMarker | None = None
    from_: UtcTime | None = Field(default=None, alias="from")
    until: UtcTime | None = None
    clock: ClockEntries = ()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def slots_at(self, moment: datetime) -> values.Slots:
        """The plan of slots that holds at this moment."""
        return next((plan.slots for plan in self.earlier_slots if moment < plan.until), self.slots)


class Project(FrozenModel):
    """A project file, read and checked. `path` is the file, `store` an absolute folder or s3://bucket/prefix.

    `refresh`: the weekly pretraining; None: never. `dask`: the scheduler of a Dask cluster that takes the arrays.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    project: Id
    path: Path
    store: Place
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    timezone: Zone
    max_pixels: Pixels = 1_200_000_000
    max_memory: Size = 4_000_000_000
    sites: tuple[Site, ...]
    scanners: tuple[Scanner, ...]
    taxonomy: Taxonomy = SOIL
    detector: DetectorName = "champion"
    keep_originals: Boolean = True
    dask: Scheduler | None = None
    refresh: RefreshPlan | None = RefreshPlan()

    def scanner(self, scanner_id: str) -> Scanner:
        """The scanner of this id; ConfigError with the nearest id where there is none."""
        for scanner in self.scanners:
            if scanner.id == scanner_id:
                return scanner
        ids = [scanner.id for scanner in self.scanners]
        what = f"no scanner is called {shown(scanner_id)}: {suggestion(scanner_id, ids)}"
        raise ConfigError(self.path, [Problem("scanners", what)])

    def snapshot(self) -> dict[str, Any]:
        """What the series depend on, as JSON-able values in the words of the project file.

        No secrets and no places: where store and inboxes lie on this machine changes no result, and neither does what
        cluster writes them, nor when models are trained. With them added it is a project file again (dumped as YAML),
        of the same snapshot.
        """
        return {
            "project": self.project,
            "timezone": self.timezone,
            "max_pixels": self.max_pixels,
            "max_memory": f"{self.max_memory}B",
            "sites": [site.model_dump() for site in self.sites],
            "scanners": [_scanner_snapshot(scanner) for scanner in self.scanners],
            "taxa": [
                {
                    "name": taxon.name,
                    "rank": taxon.rank,
                    "parent": taxon.parent,
                    "synonyms": list(taxon.synonyms),
                    "background": taxon.background,
                }
                for taxon in self.taxonomy
            ],
            "clock": [clock_snapshot(scanner.id, entry) for scanner in self.scanners for entry in scanner.clock],
            "detector": self.detector,
            "keep_originals": self.keep_originals,
        }


def _scanner_snapshot(scanner: Scanner) -> dict[str, Any]:
    return {
        "id": scanner.id,
        "site": scanner.site,
        "filename": scanner.filename,
        "dpi": scanner.dpi,
        "window_cm2": scanner.window_cm2,
        "depth_cm": scanner.depth_cm,
        "orientation": scanner.orientation,
        "colours": scanner.colours,
        "timezone": scanner.timezone,
        "slots": _plans_snapshot(scanner),
        "late_after": _seconds(scanner.late_after),
        "missing_after": _seconds(scanner.missing_after),
        "settle": _seconds(scanner.settle),
        "done_marker": scanner.done_marker,
        "from": scanner.from_.isoformat() if scanner.from_ else None,
        "until": scanner.until.isoformat() if scanner.until else None,
    }


def _plans_snapshot(scanner: Scanner) -> str | list[str] | list[dict[str, Any]]:
    if not scanner.earlier_slots:
        return _slots_snapshot(scanner.slots)
    plans = [_slots_snapshot(slots) for slots in (*(plan.slots for plan in scanner.earlier_slots), scanner.slots)]
    starts = [plan.until.isoformat() for plan in scanner.earlier_slots]
    return [{"slots": plans[0]}, *({"from": at, "slots": plan} for at, plan in zip(starts, plans[1:], strict=True))]


def _slots_snapshot(slots: values.Slots) -> str | list[str]:
    if isinstance(slots, timedelta):
        return f"every {_seconds(slots)}"
    return [slot.isoformat() for slot in slots] if isinstance(slots, tuple) else slots


def _seconds(span: timedelta) -> str:
    return f"{span / timedelta(seconds=1):.6f}".rstrip("0").rstrip(".") + "s"
