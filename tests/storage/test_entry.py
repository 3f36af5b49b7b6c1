"""Whether a file of the inbox is still the one that was listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soilpipe.files import Entry

LISTED = Entry("a.png", 10, 1_700_000_000.998, version="5d41")
ON_DISK = Entry("a.png", 10, 1_700_000_000.998)


def test_a_server_that_tells_a_time_a_little_later_on_the_other_side_of_a_full_second_tells_the_same_file() -> None:
    assert LISTED.is_now(replace(LISTED, modified=1_700_000_001.0))
    assert LISTED.is_now(replace(LISTED, modified=1_700_000_000.0))


@pytest.mark.parametrize("changes", [{"size": 11}, {"version": "5d42"}, {"modified": 1_700_000_003.0}])
def test_another_size_another_content_or_another_time_is_another_file(changes: dict) -> None:
    assert not LISTED.is_now(replace(LISTED, **changes))


def test_on_disk_every_difference_counts() -> None:
    assert ON_DISK.is_now(replace(ON_DISK, changed=5.0))  # a list does not tell when a file was written to
    assert not ON_DISK.is_now(replace(ON_DISK, modified=1_700_000_000.999))
    written = replace(ON_DISK, changed=5.0)
    assert not written.is_now(replace(written, changed=5.001))
