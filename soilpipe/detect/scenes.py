"""Artificial scenes: animals pasted onto other ground, drawn anew for every crop that is made of one.

What goes into a scene, and why:

- animals, rarer taxa more often (each with a chance of 1/sqrt of its taxon's number), as large as they are;
- of them, those that rest: in the references too, at the rates of a real campaign (`scenes_residency`);
- static look-alikes, found where labelled scans stand out and no animal is: in all references;
- bare ground in the shape of animals, pasted, lit and resting as animals are: neither a seam nor a change is an animal.

On ground that nobody labelled, what changed may be an animal and counts neither way; where no difference tells, only
what was pasted counts. An animal that rested there through all references is taken for ground: a few in a hundred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import Head
from soilpipe.detect.scenes_bank import cut_animals, cut_look_alikes
from soilpipe.detect.scenes_cutouts import Cutout
from soilpipe.detect.scenes_draw import MORE_ANIMALS, ScenesOfPass
from soilpipe.detect.scenes_residency import POOLED, stays
from soilpipe.taxonomy import SOIL, Taxonomy

RULE = (
    f"a scene is a piece of other ground with 1 animal and {MORE_ANIMALS:g} more, and for each of them 1 bare "
    "patch and 1 static look-alike, on average; animals with a chance of 1/sqrt of the number of their taxon; "
    "resting at the rates of the soil_scan campaign of 2023"
)


class Scenes:
    """What scenes are made from, and a count of what was made. Built by `make_scenes`.

    share: of all crops, those that are made of a scene. tally: what was drawn so far; a training that goes on after a
    kill may put back the one that it saved.
    """

    def __init__(
        self,
        labelled: Sequence[Sample],
        grounds: Sequence[Sample],
        taxa: Sequence[str],
        taxonomy: Taxonomy | None,
        share: float,
        seed: int,
    ) -> None:
        self.share = share
        self.tally: Counter[str] = Counter()
        self._taxa = tuple(taxa)
        self._labelled = tuple(labelled)
        self._grounds = tuple(grounds) or tuple(labelled)
        self._stays = np.array([*(stays(taxon, taxonomy) for taxon in taxa), stays(POOLED, None)])
        self._cutouts: dict[Head, tuple[Cutout, ...]] = {}
        self._look_alikes: dict[Head, tuple[Cutout, ...]] = {}
        heads: tuple[Head, ...] = ("fine", "coarse")
        for number, head in enumerate(heads):
            rng = np.random.default_rng([seed, 4, number])
            self._cutouts[head] = cut_animals(self._labelled, head, len(taxa), rng)
            self._look_alikes[head] = cut_look_alikes(self._labelled, head, self._cutouts[head], rng)

    @property
    def possible(self) -> bool:
        """Whether any animal could be cut out."""
        return any(self._cutouts.values())

    def of_pass(self, head: Head, length_range: tuple[float, float]) -> ScenesOfPass | None:
        """Scenes with the animals of one pass: those with their longer side, px of the pass, in the half-open range.
        None when there are none, or no ground of their scale."""
        least, most = length_range
        made = ScenesOfPass(
            head,
            self._grounds,
            self._labelled,
            [cutout for cutout in self._cutouts[head] if least <= cutout.length < most],
            self._look_alikes[head],
            self._stays,
            self.tally,
        )
        return made if made.possible else None

    def told(self) -> dict[str, Any]:
        """For the card: the share, the rule, what was cut out, and what was pasted so far."""
        cutouts = [cutout for each in self._cutouts.values() for cutout in each]
        cut = Counter(cutout.label for cutout in cutouts)
        return {
            "share": self.share,
            "rule": RULE,
            "crops": self.tally["scenes"],
            "grounds": len(self._grounds),
            "grounds_from": "labelled" if all(ground.image.labelled for ground in self._grounds) else "unlabelled",
            "cut_out": {taxon: cut[label] for label, taxon in enumerate(self._taxa)},
            "cut_by": dict(sorted(Counter(cutout.by for cutout in cutouts).items())),
            "pasted": {taxon: self.tally[f"animal {label}"] for label, taxon in enumerate(self._taxa)},
            "resting": self.tally["resting"],
            "half_in_background": self.tally["half in background"],
            "bare_patches": self.tally["patch"],
            "look_alikes": self.tally["look-alike"],
            "without_a_place": self.tally["without a place"],
        }


def make_scenes(
    labelled: Sequence[Sample],
    grounds: Sequence[Sample],
    taxa: Sequence[str],
    *,
    taxonomy: Taxonomy | None = SOIL,
    share: float = 0.3,
    seed: int = 0,
) -> Scenes | None:
    """Scenes from labelled samples, on `grounds`; without any, on the labelled samples themselves. Where simulated
    samples are mixed with real ones, only the real ones are cut up.

    taxa: what labels index. taxonomy: finds how long a taxon rests, by its ancestors. None when `share` is 0 or no
    animal can be cut out. ValueError when `share` does not lie between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of crops that are made of scenes lies between 0 and 1, not at {share}")
    if share == 0 or not labelled:
        return None
    real = [sample for sample in labelled if not sample.image.simulated] or labelled
    scenes = Scenes(real, grounds, taxa, taxonomy, share, seed)
    return scenes if scenes.possible else None
