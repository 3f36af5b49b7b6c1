"""The `taxa` of a project file: `soil`, or a list of the project's own."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from soilpipe.config.document import Findings
from soilpipe.config.errors import Where, shown, suggestion
from soilpipe.config.values import parse_boolean
from soilpipe.taxonomy import ROOT, SOIL, Taxon, Taxonomy, TaxonomyError

RANKS = (
    *("kingdom", "phylum", "subphylum", "superclass", "class", "subclass", "infraclass", "superorder", "order"),
    *("suborder", "infraorder", "superfamily", "family", "subfamily", "tribe", "genus", "subgenus", "species"),
    *("subspecies", "morphospecies", "informal"),
)
_KEYS = tuple(field.name for field in dataclasses.fields(Taxon))
_NAME = re.compile(r"[^\W\d_][\w .'×-]{0,99}")
_EXAMPLE = "{name: Collembola, rank: class}"


def read_taxa(value: Any, findings: Findings) -> Taxonomy | None:
    """The taxonomy, or None where something was wrong with it, which then is told.

    A list of the project's own gets the root `Invertebrata` above every animal without a parent, if it has none: an
    animal that nobody can name is still counted, and the detector `change` has a taxon to report.
    """
    if value is None or (isinstance(value, str) and value.strip() == "soil"):
        return SOIL
    if not isinstance(value, list) or not value:
        findings.tell(("taxa",), f"{shown(value)} is no list of taxa. Write soil, or a list of {_EXAMPLE}")
        return None
    taxa = [_read_taxon(item, ("taxa", i), findings) for i, item in enumerate(value)]
    whole = [taxon for taxon in taxa if taxon is not None]
    if not _parents_are_there(value, findings) or len(whole) < len(taxa):
        return None
    try:
        return Taxonomy(_rooted(whole))
    except TaxonomyError as error:
        findings.tell(("taxa",), f"{error}. Each name and synonym stands for one taxon, and parents lead to a root")
        return None


def _parents_are_there(items: list[Any], findings: Findings) -> bool:
    names = [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]
    there = True
    for i, item in enumerate(items):
        parent = item.get("parent") if isinstance(item, dict) else None
        if isinstance(parent, str) and parent not in names:
            others = [name for name in names if name != item.get("name")]
            remedy = suggestion(parent, others) if others else "the list has no other taxon"
            findings.tell(
                ("taxa", i, "parent"), f"{shown(parent)} is not among the taxa: {remedy} Or add it to the list"
            )
            there = False
    return there


def _rooted(taxa: list[Taxon]) -> list[Taxon]:
    if ROOT in (taxon.name for taxon in taxa):
        return taxa
    taken = {name.casefold() for taxon in taxa for name in (taxon.name, *taxon.synonyms)}
    root = SOIL.find(ROOT)
    root = dataclasses.replace(root, synonyms=tuple(name for name in root.synonyms if name not in taken))
    below = (
        dataclasses.replace(taxon, parent=ROOT) if taxon.parent is None and not taxon.background else taxon
        for taxon in taxa
    )
    return [root, *below]


def _read_taxon(item: Any, where: Where, findings: Findings) -> Taxon | None:
    """One taxon; None where something was wrong."""
    before = len(findings.problems)
    if not isinstance(item, dict):
        findings.tell(where, f"{shown(item)} is no taxon. Write {_EXAMPLE}")
        return None
    for key in item:
        if key not in _KEYS:
            findings.tell((*where, key), f"is an unknown key: {suggestion(key, _KEYS)}")
    for key in ("name", "rank"):
        if item.get(key) is None:
            findings.tell(where, f"`{key}` is missing. Write {_EXAMPLE}")
    name, rank, parent, synonyms = (item.get(key) for key in ("name", "rank", "parent", "synonyms"))
    for key, text in (("name", name), ("parent", parent)):
        if text is not None and not (isinstance(text, str) and _NAME.fullmatch(text)):
            findings.tell((*where, key), f"{shown(text)} is no name. Write letters, spaces and .'-, such as Acari")
    if rank is not None and rank not in RANKS:
        findings.tell((*where, "rank"), f"{shown(rank)} is no rank: {suggestion(str(rank), RANKS)}")
    synonyms = synonyms or []
    if not isinstance(synonyms, list) or not all(isinstance(text, str) and text.strip() for text in synonyms):
        findings.tell((*where, "synonyms"), f"{shown(synonyms)} is no list of names. Write [springtail, springtails]")
    background = False
    try:
        background = parse_boolean(item.get("background") or "false")
    except ValueError as error:
        findings.tell((*where, "background"), str(error))
    if len(findings.problems) > before or name is None or rank is None:
        return None
    return Taxon(name, rank, parent, tuple(synonyms), background)
