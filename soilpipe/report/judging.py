"""The page of an evaluation: one HTML file with its pictures inside, for whoever wants to know what the counts are
worth. It says the same as the JSON beside it, in words that need no knowledge of detectors."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from soilpipe import __version__
from soilpipe.detect.claims import Interval
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.figures import ENOUGH_OF_A_SIZE
from soilpipe.evaluations import EvaluationRecord
from soilpipe.report.judging_gallery import Gallery
from soilpipe.report.judging_plots import (
    calibration_plot,
    count_plot,
    froc_plot,
    precision_recall_plot,
    size_plot,
)
from soilpipe.report.words import Banner
from soilpipe.taxonomy import SOIL, Taxonomy

__all__ = ["Gallery", "judging_page"]

TEMPLATE = "judging.html"
FEW = 30
"""Animals: with fewer, the words give numbers and no per cents."""


@dataclass(frozen=True)
class Plot:
    """A picture with what it shows."""

    source: str
    caption: str
    alt: str


def judging_page(
    found: Evaluation,
    record: EvaluationRecord,
    gallery: Gallery,
    *,
    on: str,
    follows: str,
    taxonomy: Taxonomy = SOIL,
) -> bytes:
    """The page. `gallery` has watched the evaluation; `on`: what was judged on, `follows`: what comes of it, in words.

    Nothing on it comes from elsewhere: no script, no font, no address.
    """
    environment = Environment(
        loader=PackageLoader("soilpipe.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"share": share, "percent": percent, "between": between, "inline": inline_jpeg}
    depths = {
        name: len(set(taxonomy.ancestors(name)) & set(found.by_taxon)) for name in found.by_taxon if name in taxonomy
    }
    page = environment.get_template(TEMPLATE).render(
        found=found,
        record=record,
        banner=_banner(found, record, follows),
        on=on,
        units=_unit_words(found),
        summary=_summary(found),
        plots=_plots(found),
        taxa=sorted(found.by_taxon.items(), key=lambda item: _line(item[0], taxonomy)),
        depths=depths,
        misses=gallery.misses,
        alarms=gallery.alarms,
        n_misses=gallery.count("misses"),
        n_alarms=gallery.count("alarms"),
        version=__version__,
    )
    return page.encode()


def _banner(found: Evaluation, record: EvaluationRecord, follows: str) -> Banner:
    if found.simulated:
        return Banner("middle", "Judged on simulated scenes only.", follows)
    if record.validation == "local":
        return Banner("fine", "Judged on a random sample of this project's scans.", follows)
    if record.sample == "file":
        return Banner("middle", "Judged on labels that were given.", follows)
    return Banner("middle", "Judged on this project's scans, but not so that its counts can lean on it.", follows)


def _line(taxon: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    """Sorts a taxon behind its parent."""
    return (*reversed(taxonomy.ancestors(taxon)), taxon) if taxon in taxonomy else (taxon,)


def _summary(found: Evaluation) -> tuple[str, ...]:
    """The result in sentences."""
    marked = "were drawn" if found.simulated else "people marked"
    counts = found.counts
    told = [_boxed_of_few(found, marked) if found.any_taxon.animals < FEW else _boxed_of_100(found, marked)]
    if counts.bias is not None:
        told.append(
            f"Over all images together it counted {_much(counts.bias)}{_much_between(counts.bias_interval)}; on a "
            f"single image it was off by {found.count_error:.1f} animals on average."
        )
    if counts.r2 is not None:
        bounds = between(counts.r2_interval, brackets=False)
        told.append(f"{_explained(counts.r2, found.units)} (R² {counts.r2:.2f}{bounds}).")
    whole = found.population
    if whole is not None and whole.recall is not None:
        bias = "" if whole.count_bias is None else f" and count {_much(whole.count_bias)}"
        told.append(
            "The images are tiles drawn at random, not all with the same chance. Weighted accordingly, it would box "
            f"{_hundred(whole.recall)} of 100 animals in all tiles of these scans"
            f"{_of_hundred(whole.intervals['recall'])}{bias}."
        )
    if found.shortest_found_mm is not None:
        told.append(f"Animals from about {found.shortest_found_mm:.2g} mm on are found more often than missed.")
    elif any(size.animals >= ENOUGH_OF_A_SIZE for size in found.by_length_mm):
        told.append("There is no length from which on animals are found more often than missed.")
    elif found.by_length_mm:
        told.append("There are too few animals of any length to tell from which on they are found.")
    return tuple(told)


def _boxed_of_100(found: Evaluation, marked: str) -> str:
    return (
        f"Of 100 animals that {marked}, the detector boxed {_hundred(found.recall)}"
        f"{_of_hundred(found.intervals.get('recall'))}. Of 100 boxes that it drew, {_hundred(found.precision)} are "
        f"animals{_of_hundred(found.intervals.get('precision'))}."
    )


def _boxed_of_few(found: Evaluation, marked: str) -> str:
    """In numbers, since per cents of a handful look like knowledge."""
    animals, right = found.any_taxon.animals, found.detections - found.false_alarms
    return (
        f"There are only {animals} animal{'s' if animals != 1 else ''} that {marked}, too few to tell much: the "
        f"detector boxed {round(found.recall * animals)} of them, and of {found.detections} "
        f"box{'es' if found.detections != 1 else ''} that it drew, {right} {'are animals' if right != 1 else 'is one'}."
    )


def _much(bias: float) -> str:
    per_cent = round(100 * bias)
    return f"{abs(per_cent)} % too {'many' if per_cent > 0 else 'few'}" if per_cent else "neither too many nor too few"


def _much_between(bounds: Interval | None) -> str:
    return "" if bounds is None else f" (between {_much(bounds[0])} and {_much(bounds[1])})"


def _explained(r2: float, unit: str) -> str:
    if r2 <= 0:
        return f"How many animals one {unit} has more than another, the counts tell no better than their mean would"
    return f"Of the variation in numbers from {unit} to {unit}, the counts tell {100 * r2:.0f} %"


def _hundred(value: float) -> str:
    return f"{100 * value:.0f}"


def _of_hundred(bounds: Interval | None) -> str:
    return "" if bounds is None else f" (between {100 * bounds[0]:.0f} and {100 * bounds[1]:.0f})"


def _unit_words(found: Evaluation) -> str:
    if found.units == "block":
        return (
            f"There is a single image, so it was cut into {found.unit_count} blocks of {found.blocks_px} px, and the "
            "blocks were drawn again"
        )
    return f"The {found.unit_count} images were drawn again"


def _plots(found: Evaluation) -> dict[str, Plot]:
    mm = bool(found.by_length_mm)
    plots = {
        "pr": Plot(
            _inline(precision_recall_plot(found)),
            "Each point of the line is a threshold: a strict one at the left, a loose one at the right. The orange dot "
            "is the one in use, with its 95 % intervals.",
            f"Precision against recall; in use: precision {found.precision:.2f}, recall {found.recall:.2f}",
        ),
        "froc": Plot(
            _inline(froc_plot(found)),
            "What more animals found would cost in false alarms on 100 cm² of window. The orange dot is the threshold "
            "in use.",
            f"Recall against false alarms; in use: {found.false_alarms} on {found.area_cm2:.0f} cm²",
        ),
        "counts": Plot(
            _inline(count_plot(found)),
            f"A dot for each {found.units}, larger where several lie on each other. On the dashed line the count is "
            "right; above it too high, below it too low.",
            f"Counted against marked animals, bias {found.counts.bias}",
        ),
    }
    if found.calibration.bins:
        plots["calibration"] = Plot(
            _inline(calibration_plot(found)),
            "On the dashed line a score of 0.7 means that 7 in 10 such boxes are animals. Below it the detector is too "
            "sure of itself, above it not sure enough. Larger dots stand for more boxes.",
            f"Share right against score; expected calibration error {found.calibration.error}",
        )
    if mm:
        plots["mm"] = Plot(
            _inline(size_plot(found.by_length_mm, "mm")),
            "Above the dashed line an animal of that length is found more often than missed.",
            "Recall by length in mm",
        )
        plots["px"] = Plot(
            _inline(size_plot(found.by_length_px, "px")), "The same by length in pixels.", "Recall by length in px"
        )
    return plots


def share(value: float | None, digits: int = 3) -> str:
    """A figure from 0 to 1, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None, *, sign: bool = False) -> str:
    """The same in percent."""
    return "–" if value is None else f"{100 * value:{'+' if sign else ''}.0f} %"


def between(bounds: Interval | None, unit: str = "", times: float = 1, *, brackets: bool = True) -> str:
    """An interval in brackets or behind a semicolon, or nothing."""
    if bounds is None:
        return ""
    low, high = (f"{value * times:.0f}" if times != 1 else f"{value:.2f}" for value in bounds)
    return f" ({low} to {high}{unit})" if brackets else f"; {low} to {high}{unit}"


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def inline_jpeg(picture: Any) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
