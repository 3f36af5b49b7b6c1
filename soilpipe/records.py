"""Records: small sealed JSON files below `records/`, each added once and never edited.

Decisions on quarantined files carry their seal as a field of their own, and are read in `ingest.quarantine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.errors import SoilpipeError
from soilpipe.seals import sealed_json, unsealed
from soilpipe.store import Store

R = TypeVar("R", bound=FrozenModel)


@dataclass(frozen=True)
class Records(Generic[R]):
    """One kind of record. folder: below `records/`. called: what a file there ought to be, in the words of an error."""

    folder: str
    of: type[R]
    called: str
    error: type[SoilpipeError]

    def key(self, name: str) -> str:
        """Where the record of this name lies; a name may hold folders of its own."""
        return layout.record(self.folder, name)

    def add(self, store: Store, name: str, record: R) -> str:
        """Add a record; its key. The same record under the same name writes the same bytes."""
        store.write_bytes(self.key(name), sealed_json(record.model_dump(mode="json", by_alias=True)))
        return self.key(name)

    def add_new(self, store: Store, name: str, record: R) -> bool:
        """Add a record unless there is one of that name; whether it was added."""
        return store.create_bytes(self.key(name), sealed_json(record.model_dump(mode="json", by_alias=True)))

    def read(self, store: Store, key: str) -> R:
        """One record. Raises FileNotFoundError, or this kind's error where the file is something else."""
        try:
            return self.of.model_validate(unsealed(store.read_json(key)))
        except ValidationError as error:
            raise self.error(f"{key} is not {self.called}; records must not be edited") from error

    def all(self, store: Store, below: str = "") -> list[R]:
        """Every record, or those of one folder of names, by key."""
        prefix = layout.records_prefix(self.folder)
        return [self.read(store, key) for key in store.keys(f"{prefix}/{below}" if below else prefix, ".json")]
