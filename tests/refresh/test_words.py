"""What is said of a refresh in the end."""

from __future__ import annotations

import pytest

from soilpipe.refresh.records import Outcome, RefreshRecord
from soilpipe.refresh.words import as_markdown, in_words
from tests.refresh.refresh_project import NOW

NEXT = "`soilpipe train detector --backbone champion`"


@pytest.mark.parametrize("outcome", ["promoted", "candidate", "refused"])
def test_only_one_that_was_put_to_use_tells_how_a_detector_gains_by_it(outcome: Outcome) -> None:
    record = RefreshRecord(
        run_id="r",
        begun_at=NOW,
        ended_at=NOW,
        since=None,
        until=NOW,
        begun_from="detector:1",
        encoder="e",
        classifier="c",
        outcome=outcome,
        words="macro-F1 0.7 -> 0.8",
        figures={},
        corpus={},
        training={},
    )
    assert (NEXT in in_words(record)) is (NEXT in as_markdown(record)) is (outcome == "promoted")
    assert "Macro-F1 0.7 -> 0.8." in in_words(record)
