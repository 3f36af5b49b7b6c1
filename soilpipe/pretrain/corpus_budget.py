"""How much a refresh may learn from, and how much of memory and disk that may take."""

from __future__ import annotations

from dataclasses import dataclass

from soilpipe.pretrain.candidates import IN_MEMORY
from soilpipe.pretrain.corpus_pixels import crop_bytes
from soilpipe.pretrain.manifest import CorpusError

LEAST_SIDE = 32


@dataclass(frozen=True)
class CorpusBudget:
    """crops: new crops, at most. memory: members of the replay memory, at most. bytes: pixels of both on disk, at most;
    None: as many as they are, half a megabyte a crop of 256 px. in_memory: bytes of the pixels that are in memory at a
    time, on their way from the scans to the disk. scans: scans to read, at most: each costs the registration of its
    references, seconds for an A4 scan at 1200 dpi. side: of a crop, px at the encoder's scale. eps: see
    `near_duplicates`; None: what fits the encoder (`eps_by_places`). oversample: candidates taken per crop wanted,
    since some are dropped.
    """

    crops: int = 8_192
    memory: int = 8_192
    bytes: int | None = None
    in_memory: int = IN_MEMORY
    scans: int = 512
    side: int = 256
    eps: float | None = None
    oversample: float = 1.5

    def __post_init__(self) -> None:
        if min(self.crops, self.scans) < 1 or self.memory < 0:
            raise CorpusError(
                f"a corpus of {self.crops} crops of {self.scans} scans and {self.memory} replayed ones: ask for one "
                "crop and one scan at least"
            )
        if self.side < LEAST_SIDE or self.side % LEAST_SIDE:
            raise CorpusError(f"a crop's side of {self.side} px: take a multiple of {LEAST_SIDE}")
        if self.oversample < 1 or (self.eps is not None and not 0 <= self.eps <= 2):
            raise CorpusError(f"oversample {self.oversample} must be 1 or more, eps {self.eps} 0 to 2")
        if self.rows < 2:
            raise CorpusError(
                f"{self.bytes or 0:,} bytes hold no two crops of {self.side} px ({crop_bytes(self.side):,} bytes each)"
            )

    @property
    def rows(self) -> int:
        """Crops that lie on the disk at most."""
        wanted = round(self.oversample * self.crops) + self.memory
        return max(2, wanted) if self.bytes is None else self.bytes // crop_bytes(self.side)

    @property
    def most_memory(self) -> int:
        """Members of the replay memory, and so replayed crops, at most: half of the room where that is short.

        All that is remembered is replayed, so that what leaves the memory leaves it by its likeness to what stays
        (`memory_diverse`), and never for want of room.
        """
        return min(self.memory, self.rows // 2)

    def candidates(self, replayed: int) -> int:
        """Candidates to take beside so many replayed crops."""
        return max(1, min(round(self.oversample * self.crops), self.rows - replayed))

    def of_a_scan(self, candidates: int, scans: int) -> int:
        """Crops to ask each scan for, where `candidates` are wanted of so many: no more than memory has room for."""
        return min(-(-candidates // scans), max(1, self.in_memory // crop_bytes(self.side)))
