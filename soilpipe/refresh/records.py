"""What came of refreshes: records in the store, of those that were finished and of those that were given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from soilpipe.config import FrozenModel
from soilpipe.config.frozen import UtcTime
from soilpipe.records import Records
from soilpipe.refresh.state import RefreshError
from soilpipe.store import Store

Outcome = Literal["promoted", "candidate", "refused"]
"""candidate: too little to judge by, and nothing speaks against it; refused: worse than what is in use."""


class RefreshRecord(FrozenModel):
    """What came of a refresh.

    encoder, classifier: versions; None where it was not fitted, which `words` explains. corpus, training: in figures.
    since, until, read_until, notes: as in `RefreshState`; read_until is empty in records of earlier releases, which
    read all scanners up to `until`. Which scans these were lies beside (`new_scans`). pretrained: the encoder that was
    tuned on labelled crops, where `encoder` is what came of that.
    """

    schema_version: Literal[1] = 1
    run_id: str
    begun_at: UtcTime
    ended_at: UtcTime
    since: UtcTime | None
    until: UtcTime | None
    begun_from: str
    encoder: str
    pretrained: str | None = None
    classifier: str | None
    outcome: Outcome
    words: str
    figures: Mapping[str, Any]
    corpus: Mapping[str, Any]
    training: Mapping[str, Any]
    read_until: Mapping[str, UtcTime] = {}
    notes: tuple[str, ...] = ()


class DroppedRefresh(FrozenModel):
    """A refresh that was given up. step: that it did not get past. read_until: by scanner what is not read again, as in
    `RefreshRecord`; empty where that was not at fault. encoder, pretrained: those that it had registered, as there."""

    schema_version: Literal[1] = 1
    run_id: str
    begun_at: UtcTime
    dropped_at: UtcTime
    step: str
    reason: str
    encoder: str | None
    pretrained: str | None = None
    read_until: Mapping[str, UtcTime]


REFRESHES = Records("refreshes", RefreshRecord, "a record of a refresh", RefreshError)
DROPPED = Records("refreshes-dropped", DroppedRefresh, "a record of a refresh that was given up", RefreshError)


def keep_record(store: Store, record: RefreshRecord) -> str:
    """Add a record; its key. The same refresh again writes the same name."""
    return REFRESHES.add(store, record.run_id, record)


def refreshes(store: Store) -> list[RefreshRecord]:
    """What came of every refresh that was finished, oldest first."""
    return sorted(REFRESHES.all(store), key=lambda record: (record.begun_at, record.run_id))


def dropped(store: Store) -> list[DroppedRefresh]:
    """Every refresh that was given up, oldest first."""
    return sorted(DROPPED.all(store), key=lambda record: (record.begun_at, record.run_id))
