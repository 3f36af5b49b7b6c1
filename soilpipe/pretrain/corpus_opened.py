"""A corpus that lies in a folder, as learning reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soilpipe.pretrain.corpus_pixels import mapped_pixels
from soilpipe.pretrain.manifest import CorpusError, CropEntry, Manifest, read_manifest
from soilpipe.pretrain.source import draw_batch

EMBEDDINGS = "embeddings.npy"


class Corpus:
    """A `CropSource` that lies in a folder. Rows: new crops by scanner, time and place, then the replayed ones.

    entries: what each crop is. embeddings: (n, d) float32, unit length, by the encoder of the manifest. scanner, place
    and is_new: as in `CropSource`.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.entries: tuple[CropEntry, ...] = manifest.crops
        self._pixels = mapped_pixels(folder, len(self.entries), manifest.side)
        try:
            self.embeddings: np.ndarray = np.load(folder / EMBEDDINGS, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CorpusError(
                f"{folder / EMBEDDINGS} cannot be read ({error}); delete the folder and refresh again"
            ) from error
        self.scanner = np.array([entry.scanner_id for entry in self.entries])
        self.place = np.array([entry.place for entry in self.entries], np.int64)
        self.is_new = np.array([entry.is_new for entry in self.entries], bool)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def manifest_hash(self) -> str:
        """Hex sha256 of the manifest's file; goes on the card of what is learned."""
        return self.manifest.hash

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """(k, 7, side, side) uint8 of the crops asked for, in that order; a copy."""
        return np.asarray(self._pixels[np.asarray(indices, np.int64)])

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Indices of a batch, by the rules of `source.draw_batch`."""
        return draw_batch(self.place, self.is_new, rng, batch)

    def summary(self) -> str:
        """What it is made of, in a few sentences."""
        return self.manifest.summary()


def open_corpus(folder: Path) -> Corpus:
    """The corpus that lies in a folder; CorpusError where there is none, or not all of it."""
    return Corpus(folder, read_manifest(folder))
