"""Which animals and look-alikes are kept for scenes: a bounded choice from all labelled samples, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import Head
from soilpipe.detect.scenes_cutouts import Cutout, cut_animal, find_look_alikes

MOST_OF_A_TAXON = 200  # cut-outs of a pass
MOST_LOOK_ALIKES = 300  # of a pass
OF_A_SAMPLE = 12  # look-alikes
BUDGET = 150_000_000  # bytes of cut-outs of a pass, shared evenly by its taxa
SIDES = (4.0, 280.0)  # px of the pass, shortest and longest box: less has no shape, more fits no crop


def cut_animals(samples: Sequence[Sample], head: Head, taxa: int, rng: np.random.Generator) -> tuple[Cutout, ...]:
    """Up to `MOST_OF_A_TAXON` animals of each taxon that can be cut out, in an order drawn by `rng`."""
    rows: list[list[tuple[int, int]]] = [[] for _ in range(taxa)]
    for number, sample in enumerate(samples):
        boxes = sample.image.boxes / np.float32(sample.passes[head].factor)
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        for row in np.flatnonzero((sides >= SIDES[0]) & (sides <= SIDES[1]) & ~sample.image.crowd):
            rows[int(sample.image.labels[row])].append((number, int(row)))
    found: list[Cutout] = []
    for of_taxon in rows:
        kept = room = 0
        for index in rng.permutation(len(of_taxon)):
            number, row = of_taxon[index]
            cutout = cut_animal(samples[number], row, head)
            if cutout is not None:
                found.append(cutout)
                kept, room = kept + 1, room + cutout.nbytes
            if kept == MOST_OF_A_TAXON or room > BUDGET / taxa:
                break
    return tuple(found)


def cut_look_alikes(
    samples: Sequence[Sample], head: Head, animals: Sequence[Cutout], rng: np.random.Generator
) -> tuple[Cutout, ...]:
    """Static look-alikes about as large as the animals are, from samples in an order drawn by `rng`."""
    if not animals:
        return ()
    low, high = np.percentile([cutout.length for cutout in animals], [2, 98]) * (0.75, 1.33)
    found: list[Cutout] = []
    for number in rng.permutation(len(samples)):
        found += find_look_alikes(samples[number], head, (float(low), float(high)), OF_A_SAMPLE, rng)
        if len(found) >= MOST_LOOK_ALIKES:
            break
    return tuple(found[:MOST_LOOK_ALIKES])
