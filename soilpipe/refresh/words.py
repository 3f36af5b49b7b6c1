"""What came of a refresh, for people: in a sentence, and as a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soilpipe.refresh.records import RefreshRecord

HEADS = {
    "promoted": "Put to use",
    "candidate": "Stays a candidate",
    "refused": "Not put to use",
}

FOR_THE_DETECTOR = "A detector that begins from this encoder: `soilpipe train detector --backbone champion`"
"""A refresh trains none: boxes are as before until somebody does."""


def in_words(record: RefreshRecord) -> str:
    """One or two sentences."""
    bundle = f"encoder {record.encoder}"
    bundle += f" with classifier {record.classifier}" if record.classifier else ""
    told = f"{HEADS[record.outcome]}: {bundle}. {_sentence(record.words)}"
    return f"{told} {FOR_THE_DETECTOR}" if record.outcome == "promoted" else told


def as_markdown(record: RefreshRecord, picture: str | None = None) -> str:
    """The decision, its reason and its figures. picture: the address of the curves, which may be a data URL."""
    lines = [
        f"# {HEADS[record.outcome]}: encoder {record.encoder}",
        "",
        _sentence(record.words),
        "",
        *_macro(record.figures),
        *_classes(record.figures),
        *_more(record.figures),
        *_week(record.figures),
        "## What it learned from",
        "",
        str(record.corpus.get("words", "")),
        "",
        f"Scans {_between(record)}. Begun from {record.begun_from}. Classifier: {record.classifier or 'none'}.",
        *([] if record.pretrained is None else [f"Pretrained as {record.pretrained}, then tuned on labelled crops."]),
        "",
        *_training(record.training),
    ]
    lines += [line for note in record.notes for line in ("", _sentence(note))]
    if picture:
        lines += ["", f"![How the training went]({picture})"]
    if record.outcome == "candidate" and "last_week" in record.figures:  # its figures are no worse: it is for a person
        force = f"soilpipe models promote {record.encoder} --role encoder --force --reason"
        lines += ["", f'To put both to use all the same: `{force} "..."`']
    if record.outcome == "promoted":
        lines += ["", FOR_THE_DETECTOR, "", "To take both back: `soilpipe models rollback --role encoder`"]
    return "\n".join(lines)


def _sentence(words: str) -> str:
    told = words[:1].upper() + words[1:]
    return told if told.endswith((".", ")")) else f"{told}."


def _between(record: RefreshRecord) -> str:
    until = f"{record.until:%Y-%m-%d %H:%M} UTC" if record.until else "now"
    return f"up to {until}" if record.since is None else f"from {record.since:%Y-%m-%d %H:%M} to {until}"


def _macro(figures: Mapping[str, Any]) -> list[str]:
    macro = figures.get("comparison", {}).get("macro_f1")
    if not macro:
        return []
    low, high = macro["interval"] or (None, None)
    before, after = _number(macro["rival"]), _number(macro["candidate"])
    return [
        "| | before | new | change, 95 % |",
        "|---|---|---|---|",
        f"| **macro-F1** | {before} | {after} | {_signed(low)} to {_signed(high)} |",
    ]


def _classes(figures: Mapping[str, Any]) -> list[str]:
    classes = figures.get("comparison", {}).get("classes") or {}
    rows = [
        f"| F1 of {name} ({one['examples']}) | {_number(one['rival'])} | {_number(one['candidate'])} | "
        f"{_signed(one['candidate'] - one['rival'])} |"
        for name, one in classes.items()
    ]
    return [*rows, ""] if rows else []


def _more(figures: Mapping[str, Any]) -> list[str]:
    compared = figures.get("comparison", {})
    lines = []
    if "effective_rank" in compared:
        rank = compared["effective_rank"]
        lines.append(f"Effective rank of the embeddings: {rank['rival']:.1f} before, {rank['candidate']:.1f} new.")
    calibration = compared.get("calibration") or {}
    if calibration.get("crops"):
        judged = "" if calibration["judged"] else " (too few crops to be judged by)"
        lines.append(
            f"Of {calibration['crops']} crops as they come: expected calibration error "
            f"{_number(calibration['expected_calibration_error'])}, sets hold the truth in "
            f"{_number(calibration['coverage'])} of the cases{judged}."
        )
    if "on" in figures:
        lines.append(f"Judged on {figures['on']}.")
    return [line for text in lines for line in (text, "")]


def _week(figures: Mapping[str, Any]) -> list[str]:
    """What both call the detections of the last 7 days; most frequent first."""
    week = figures.get("last_week")
    if not week:
        return []
    if not week["scans"]:
        return ["No published detection of the last 7 days that both could name.", ""]
    new, before = week["candidate"], week["champion"]
    rows = [
        f"| {taxon} | {before[taxon]} | {new[taxon]} |"
        for taxon in sorted(new, key=lambda name: (-max(new[name], before[name]), name))
        if max(new[taxon], before[taxon])
    ]
    told = f"## The last 7 days\n\nThe same detections on {week['scans']} scans, as they are named now and by the new."
    return ["", told, "", "| | now | new |", "|---|---|---|", *rows, ""]


def _training(training: Mapping[str, Any]) -> list[str]:
    told = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in training.items() if _is_plain(value)]
    return [f"Training: {', '.join(told)}."] if told else []


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
