"""Whether two bundles share labels enough to be compared.

What counts are animals that somebody has labelled, and the days they are of. Windows without an animal are drawn by the
program, as many as it likes: they show whether bare ground is told from animals, and are no evidence of how many
labels there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from soilpipe.bundles.records import JudgedCrops
from soilpipe.classify.examples import BACKGROUND
from soilpipe.taxonomy import Taxonomy

LEAST_DAYS, LEAST_ANIMALS, LEAST_TAXA = 10, 50, 2
FEWEST_OF_A_CLASS = 5  # examples from which a class counts in macro-F1
COMMON = 20  # examples of a class from which its own F1 counts, and from which one taxon alone is enough


@dataclass(frozen=True)
class Evidence:
    """What two bundles are compared by. animals: crops whose truth is one. windows: the others. days: scanner-days of
    the animals. of_class: animals of each class that counts in macro-F1. background: whether a class that is no animal
    counts in it too. seen: animals that do not count, since something was learned from what they show."""

    animals: int
    windows: int
    days: int
    of_class: dict[str, int]
    background: bool
    seen: int

    @property
    def words(self) -> str:
        return f"{counted(self.animals, 'animal')} and {counted(self.windows, 'window')} without one"

    def missing(self) -> tuple[str, ...]:
        """What is wanting for a judgement, in words; empty where nothing is."""
        told = []
        if self.animals < LEAST_ANIMALS:
            told.append(f"{self.animals} of {LEAST_ANIMALS} labelled animals (there are {self.words})")
        if self.days < LEAST_DAYS:
            told.append(f"{self.days} of {LEAST_DAYS} scanner-days with an animal")
        one_will_do = self.background and any(count >= COMMON for count in self.of_class.values())
        if len(self.of_class) < LEAST_TAXA and not one_will_do:
            told.append(
                f"{len(self.of_class)} of {LEAST_TAXA} taxa with {FEWEST_OF_A_CLASS} animals or more (one with "
                f"{COMMON} or more will do, beside {FEWEST_OF_A_CLASS} windows without an animal)"
            )
        if told and self.seen:
            whose = "encoder or classifier, or what they began from, learned from what they show"
            do = "does" if self.seen == 1 else "do"
            told.append(f"{counted(self.seen, 'more animal')} {do} not count, because {whose}")
        return tuple(told)


def evidence(
    shared: JudgedCrops, truth: Sequence[str], classes: Sequence[str], taxonomy: Taxonomy, *, judged: JudgedCrops
) -> Evidence:
    """Of crops that both were judged on and neither learned from, with their classes as `truth`; `classes` are those
    that count in macro-F1. judged: all that the candidate was judged on, by which is told what does not count."""
    animals = [is_animal(taxon, taxonomy) for taxon in shared.truth]
    examples = Counter(truth)
    return Evidence(
        animals=sum(animals),
        windows=len(animals) - sum(animals),
        days=len({day for day, animal in zip(shared.days, animals, strict=True) if animal}),
        of_class={name: examples[name] for name in classes if is_animal(name, taxonomy)},
        background=not all(is_animal(name, taxonomy) for name in classes),
        seen=sum(met and is_animal(taxon, taxonomy) for taxon, met in zip(judged.truth, judged.seen, strict=True)),
    )


def is_animal(taxon: str, taxonomy: Taxonomy) -> bool:
    """Whether a taxon, or a label that the taxonomy does not have, is neither bare ground nor roots and the like."""
    return taxon != BACKGROUND and not (taxon in taxonomy and taxonomy.find(taxon).background)


def counted(number: int, what: str) -> str:
    """`1 animal`, `2 animals`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
