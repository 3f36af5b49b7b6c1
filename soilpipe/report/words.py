"""What pages say in words: the states of a slot, and what stands behind the counts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

STATES = {
    "observed": "the scan came in time",
    "late": "the scan came, but was taken long after its slot",
    "missing": "no scan came, and none is expected any more",
    "quarantined": "a file came but was refused; a person decides",
    "pending": "the scan may still come",
}


@dataclass(frozen=True)
class Banner:
    """level: strong, middle or fine, for its colour; the headline is a sentence of its own."""

    level: str
    headline: str
    text: str


_BANNERS = {
    "none": Banner(
        "strong",
        "Nobody has checked these counts.",
        "The detector behind them was never judged against animals that a person counted. Read each number as “this "
        "many things looked like an animal”, and look at the pictures before you use it.",
    ),
    "simulated": Banner(
        "middle",
        "These counts were checked on simulated scans only.",
        "The detector was judged on drawn scenes, where every animal is known. How many animals it misses or invents "
        "in your soil is not known. The counts show that the system works, and what to look at; they are no basis for "
        "a conclusion.",
    ),
    "local": Banner(
        "fine",
        "These counts were checked on scans of this project.",
        "The detector was judged on a random sample of this project's own scans, counted by people.",
    ),
}
_NOTHING = Banner(
    "plain", "No counts yet.", "No scan has been counted so far, so there is nothing to rely on or to doubt."
)
_ORDER = ("none", "simulated", "local")


def banner(validations: Collection[str]) -> Banner:
    """What to say of counts with these values of `validation`; with several, the weakest speaks and says so."""
    present = [name for name in _ORDER if name in validations]
    if not present:
        return _NOTHING
    weakest = _BANNERS[present[0]]
    if len(present) == 1:
        return weakest
    more = f" Part of the counts rest on better ground ({', '.join(present[1:])}); the tables say which."
    return Banner(weakest.level, weakest.headline.replace("These counts", "Some of these counts"), weakest.text + more)


def validation_note(validations: Collection[str]) -> str:
    """The same in a few words, for below a picture."""
    notes = {
        "none": "the detector was never checked",
        "simulated": "checked on simulated scans only",
        "local": "checked on scans of this project",
    }
    return next((notes[name] for name in _ORDER if name in validations), "no counts")


def validation_words(validations: Collection[str]) -> str:
    """The same in a word or two, for a table's cell."""
    words = {"none": "not checked", "simulated": "simulated scans", "local": "this project's scans"}
    return ", ".join(words[name] for name in _ORDER if name in validations) or "–"
