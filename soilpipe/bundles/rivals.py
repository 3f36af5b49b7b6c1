"""Which bundles a candidate must stand up to: the one in use, and those ever promoted that were best.

Judging a bundle means reading and embedding every crop of the hold-out, each time that its labels have changed. So of
many that were promoted through the years, those are judged that did best when they were judged last.
"""

from __future__ import annotations

from soilpipe.bundles.gate import lead
from soilpipe.bundles.promotion import Bundle, bundle_in_use, ever_promoted
from soilpipe.bundles.records import BundleRecord, records_of
from soilpipe.store import Store
from soilpipe.taxonomy import SOIL, Taxonomy

MOST_RIVALS = 6


def rivals_of(
    store: Store, candidate: Bundle | None = None, taxonomy: Taxonomy = SOIL, *, most: int = MOST_RIVALS
) -> list[Bundle]:
    """At most `most` bundles that were promoted, in the order in which they first were; `candidate` is none of them.

    The one in use, and the last one promoted beside it, always are. The others are those that lead by most, or trail by
    least, by their newest judgements: in macro-F1 beside the one in use, on the crops that both were judged on and by
    the classes of both (`gate.lead`). One that cannot be compared so comes last.
    """
    promoted = [one for one in ever_promoted(store) if one != candidate]
    if len(promoted) <= most:
        return promoted
    present = bundle_in_use(store)
    chosen = [one for one in dict.fromkeys((present, promoted[-1])) if one in promoted]
    measure = _newest(store, present) if present is not None else None
    leads: dict[Bundle, float] = {}
    for bundle in promoted:
        record = _newest(store, bundle)
        by = None if measure is None or record is None else lead(record, measure, taxonomy)
        leads[bundle] = float("-inf") if by is None else by
    newest_first = reversed(promoted)  # of equals the one that was promoted last
    others = sorted((one for one in newest_first if one not in chosen), key=lambda one: -leads[one])
    return [one for one in promoted if one in {*chosen, *others[: most - len(chosen)]}]


def _newest(store: Store, bundle: Bundle) -> BundleRecord | None:
    records = records_of(store, bundle.encoder, bundle.classifier)
    return records[-1] if records else None
