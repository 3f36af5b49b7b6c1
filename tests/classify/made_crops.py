"""Labelled crops made up of numbers: classes as clouds of vectors, moved a little on every scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from soilpipe.classify.examples import BACKGROUND, Examples, Source
from soilpipe.classify.space import unit

DIM = 12
CENTRES = {
    "Poduromorpha": 0, "Entomobryomorpha": 1, "Oribatida": 2, "Mesostigmata": 3, "Symphyla": 4, "Protura": 5,
    BACKGROUND: 6, "Nematoda": 7, "Collembola": 8, "Rhabdura": 9,
}  # fmt: skip


def made_crops(
    counts: Mapping[str, int],
    scanners: Sequence[str] = ("A", "B", "C", "D", "E", "F"),
    *,
    spread: float = 0.35,
    seed: int = 0,
    as_it_comes: bool = True,
    detected: bool = True,
) -> Examples:
    """`counts` crops of each taxon on every scanner; classes lie on axes of their own, `spread` blurs them."""
    rng = np.random.default_rng(seed)
    vectors, sizes, taxa, sources = [], [], [], []
    for scanner in scanners:
        moved = rng.normal(0, 0.1, DIM)
        for taxon, count in counts.items():
            for number in range(count):
                middle = np.eye(DIM)[CENTRES[taxon]] + 1.0
                vectors.append(middle + moved + rng.normal(0, spread, DIM))
                sizes.append(np.exp(rng.normal(CENTRES[taxon] % 3, 0.3)))
                taxa.append(taxon)
                box = (10.0 * number, 20.0, 10.0 * number + 8, 26.0)
                time = f"2024-03-{1 + number % 28:02d}T06:00:00+00:00"
                name = f"{scanner}_{number}.png"
                sources.append(Source(name, box, scanner, time, as_it_comes, 21.17, name, detected))
    return Examples(
        unit(np.array(vectors)).astype(np.float32),
        np.array(sizes, np.float32),
        tuple(taxa),
        tuple(sources),
        tuple(f"picture {number}".encode() for number in range(len(taxa))),
    )
