"""Which of the bundles that were ever promoted are judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.bundles import rivals
from soilpipe.bundles.promotion import Bundle
from soilpipe.bundles.records import keep
from soilpipe.bundles.rivals import rivals_of
from soilpipe.store import Store
from tests.bundles.records_made import judgement


def test_of_many_the_best_the_last_and_the_one_in_use_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    wrong = {"a": 0.3, "b": 0.05, "c": 0.3, "d": 0.1, "e": 0.3, "f": 0.2, "g": 0.3, "h": None}
    promoted = [Bundle(name, "c1") for name in wrong]
    for name, share in wrong.items():
        if share is not None:
            keep(store, judgement(name, wrong=share))
    monkeypatch.setattr(rivals, "ever_promoted", lambda _: promoted)
    monkeypatch.setattr(rivals, "bundle_in_use", lambda _: Bundle("f", "c1"))
    chosen = "".join(one.encoder for one in rivals_of(store, most=4))
    assert chosen == "bdfh", "the two best, the one in use, and the last one promoted, which nobody has judged yet"
    assert "".join(one.encoder for one in rivals_of(store, Bundle("b", "c1"), most=4)) == "dfgh"
    assert rivals_of(store, most=8) == promoted
