"""A scanner's line of the index, kept, so that a run of one scanner reads no series of the others.

It is no truth: absent, damaged or of other code, it is worked out again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from soilpipe import layout
from soilpipe.code_digest import code_digest
from soilpipe.config import FrozenModel
from soilpipe.ingest.quarantine import Quarantined
from soilpipe.report.summary import ScannerSummary
from soilpipe.store import Store


class IndexLine(FrozenModel):
    """What the index says of a scanner: the numbers, and the refused files that are open.

    ``made_from``: a digest of the series that the numbers are of, "" where it is not known.
    """

    code: str
    made_from: str
    summary: ScannerSummary
    refused: tuple[Quarantined, ...]


def load_line(store: Store, scanner_id: str) -> IndexLine | None:
    """The line that the scanner's last run left; None when there is none."""
    try:
        line = IndexLine.model_validate_json(store.read_bytes(layout.index_line(scanner_id)))
    except (FileNotFoundError, ValidationError):
        return None
    return line if line.code == code_digest() else None


def save_line(store: Store, scanner_id: str, line: IndexLine) -> None:
    """Keep it; an equal one is left alone."""
    store.write_if_changed(layout.index_line(scanner_id), line.model_dump_json().encode())


def line_of(made_from: str, summary: ScannerSummary, refused: Sequence[Quarantined]) -> IndexLine:
    """The line of a scanner."""
    return IndexLine(code=code_digest(), made_from=made_from, summary=summary, refused=tuple(refused))
