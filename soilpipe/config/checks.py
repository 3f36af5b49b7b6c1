"""What sites and scanners must be to each other: ids apart, sites declared, shared inboxes with names that tell."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from soilpipe.config.document import Findings
from soilpipe.config.errors import Where, shown, suggestion
from soilpipe.config.places import names_scanner


@dataclass(frozen=True)
class Block:
    """One site or scanner of the file: where it stands, as written, and what could be parsed (defaults included)."""

    where: Where
    written: Mapping[str, Any]
    parsed: Mapping[str, Any]

    def place_of(self, key: str) -> Where:
        """Where this key is written: in the block, or at the top as a default."""
        return (*self.where, key) if key in self.written else (key,)


def check_sites(sites: list[Block], findings: Findings) -> None:
    _check_ids_apart(sites, findings)
    for site in sites:
        for one, other in (("latitude", "longitude"), ("longitude", "latitude")):
            if one in site.written and other not in site.written:
                findings.tell((*site.where, one), f"stands without {other}. Give both, or neither")


def check_scanners(
    scanners: list[Block], sites: list[Block], store: str | None, findings: Findings, *, sites_declared: bool
) -> None:
    _check_ids_apart(scanners, findings)
    if sites_declared:
        _check_sites_declared(scanners, sites, findings)
    _check_inboxes(scanners, findings)
    for scanner in scanners:
        start, end = scanner.parsed.get("from"), scanner.parsed.get("until")
        if start is not None and end is not None and end <= start:
            findings.tell(scanner.place_of("until"), "is not after `from`. Mend one of the two")
        inbox = scanner.parsed.get("inbox")
        if store is not None and inbox is not None and _lies_in(inbox, store):
            findings.tell(
                scanner.place_of("inbox"),
                f"{shown(inbox)} lies in the store, which holds only what soilpipe writes. Put it beside the store",
            )


def _check_ids_apart(blocks: list[Block], findings: Findings) -> None:
    first: dict[str, Block] = {}
    for block in blocks:
        own = block.parsed.get("id")
        if own is None:
            continue
        other = first.setdefault(own.casefold(), block)
        if other is not block:
            line = findings.document.line(other.where)
            same = other.parsed["id"] == own
            told = "is there already" if same else f"differs from {shown(other.parsed['id'])} only by case"
            findings.tell((*block.where, "id"), f"{shown(own)} {told} (line {line}). Rename one of them")


def _check_sites_declared(scanners: list[Block], sites: list[Block], findings: Findings) -> None:
    # As written, so that a site whose id is refused is not told a second time as undeclared.
    ids = [site.written["id"] for site in sites if isinstance(site.written.get("id"), str)]
    told: set[Where] = set()
    for scanner in scanners:
        site, where = scanner.parsed.get("site"), scanner.place_of("site")
        if site is not None and site not in ids and where not in told:
            told.add(where)
            findings.tell(where, f"{shown(site)} is not among the sites: {suggestion(site, ids)}")


def _check_inboxes(scanners: list[Block], findings: Findings) -> None:
    sharing: dict[tuple[str, str], list[Block]] = defaultdict(list)
    for scanner in scanners:
        inbox = scanner.parsed.get("inbox")
        if inbox is not None:
            remote = inbox.startswith("s3://")
            # The same bucket name on two servers is two inboxes.
            server = repr(sorted(scanner.parsed.get("inbox_options", {}).items(), key=str)) if remote else ""
            sharing[inbox if remote else os.path.realpath(inbox), server].append(scanner)
    for together in sharing.values():
        for scanner in together:
            filename = scanner.parsed.get("filename", "soil_scan")
            # A pattern that was wrong has been told already.
            wrong = "filename" in scanner.written and "filename" not in scanner.parsed
            if len(together) == 1 or wrong or names_scanner(filename):
                continue
            others = ", ".join(str(other.parsed.get("id")) for other in together if other is not scanner)
            findings.tell(
                (*scanner.where, "inbox"),
                f"is shared with {others}, but a name of the pattern {shown(filename)} does not say whose the file is. "
                "Give each scanner its own inbox, or a pattern with a group (?P<scanner>...)",
            )


def _lies_in(inbox: str, store: str) -> bool:
    if inbox.startswith("s3://") or store.startswith("s3://"):
        return f"{inbox}/".startswith(f"{store}/")
    return PurePath(os.path.realpath(inbox)).is_relative_to(os.path.realpath(store))
