"""What bundles of encoder and classifier were found to be worth on the hold-out: records, append-only.

Each keeps, crop by crop, what is there and what was answered, so that two bundles can be compared on equal draws of the
same crops long after. The encoder's version is part of the key: nothing of two encoders is ever mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from soilpipe import __version__
from soilpipe.config import FrozenModel
from soilpipe.config.frozen import UtcTime
from soilpipe.errors import SoilpipeError
from soilpipe.records import Records
from soilpipe.store import Store


class BundleRecordError(SoilpipeError):
    """A judgement of a bundle in the store cannot be used."""


class JudgedCrops(FrozenModel):
    """Labelled crops of the hold-out, and what a bundle says of each; all of equal length.

    ids: scan and box. days: scanner and UTC day. truth: taxon, or background. found: the likeliest class, before any
    back-off, with its probability. covered: the conformal set holds the truth. as_it_comes: of a tile drawn at random,
    which tells frequencies. seen: encoder or classifier, or what they began from, learned from what it shows.
    """

    ids: tuple[str, ...]
    days: tuple[str, ...]
    truth: tuple[str, ...]
    found: tuple[str, ...]
    probability: tuple[float, ...]
    covered: tuple[bool, ...]
    as_it_comes: tuple[bool, ...]
    seen: tuple[bool, ...]

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if len({len(getattr(self, name)) for name in type(self).model_fields}) != 1:
            raise ValueError("its columns are of different lengths")
        return self

    def __len__(self) -> int:
        return len(self.ids)


class BundleRecord(FrozenModel):
    """One judgement. encoder, classifier: versions. labels_sha256: of the labels of the hold-out, so that a record is
    made again only when they have changed. alpha: the error that the conformal sets are meant to allow.
    effective_rank: of the embeddings of the crops. figures: for people, JSON."""

    schema_version: Literal[1] = 1
    encoder: str
    classifier: str
    judged_at: UtcTime
    release: str = __version__
    labels_sha256: str
    hold_out_scanner: str | None
    alpha: float
    classes: tuple[str, ...]
    effective_rank: float
    crops: JudgedCrops
    figures: Mapping[str, Any] = {}


BUNDLES = Records("bundles", BundleRecord, "a judgement of a bundle", BundleRecordError)


def keep(store: Store, record: BundleRecord) -> str:
    """Add a record; its key. One for each bundle and state of the labels."""
    return BUNDLES.add(store, _name(record.encoder, record.classifier, record.labels_sha256), record)


def kept(store: Store, encoder: str, classifier: str, labels_sha256: str) -> BundleRecord | None:
    """The judgement of a bundle on these labels; None where there is none yet."""
    key = BUNDLES.key(_name(encoder, classifier, labels_sha256))
    return BUNDLES.read(store, key) if store.exists(key) else None


def records_of(store: Store, encoder: str, classifier: str) -> list[BundleRecord]:
    """Every judgement of a bundle, oldest first."""
    return sorted(BUNDLES.all(store, _folder(encoder, classifier)), key=lambda record: record.judged_at)


def _folder(encoder: str, classifier: str) -> str:
    return f"{encoder.replace(':', '-')}/{classifier}"


def _name(encoder: str, classifier: str, labels: str) -> str:
    return f"{_folder(encoder, classifier)}/{labels[:16]}"
