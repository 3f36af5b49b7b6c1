"""Taxa with ranks, parents, synonyms and stages, and the built-in taxonomy `soil`.

A taxonomy is a forest: the animals hang below one root, what is no animal (roots, hyphae, litter) below another.
Names are found as people write them: in any case, with or without accents, by a synonym, with a stage behind
("Diptera (larva)", "diptera larvae") or an open ending ("Pseudosinella sp.").
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from soilpipe.errors import SoilpipeError

STAGES: Mapping[str, str] = {
    "egg": "egg",
    "eggs": "egg",
    "larva": "larva",
    "larvae": "larva",
    "larvas": "larva",
    "larve": "larva",
    "larves": "larva",
    "nymph": "nymph",
    "nymphs": "nymph",
    "juvenile": "juvenile",
    "juveniles": "juvenile",
    "pupa": "pupa",
    "pupae": "pupa",
    "adult": "adult",
    "adults": "adult",
    "imago": "adult",
}
"""Stages as people write them, and the word under which the tables keep them."""

_OPEN_ENDING = re.compile(r"\s+(?:sp|spp|indet|undet)\.?$")
_STAGE_ENDING = re.compile(rf"^(?P<taxon>.*?)[\s,]*\(?\b(?P<stage>{'|'.join(STAGES)})\)?$")


class TaxonomyError(SoilpipeError, LookupError):
    """A name that no taxon has, or taxa that do not make a taxonomy."""


@dataclass(frozen=True)
class Taxon:
    """One taxon: its `name` in the tables, its `rank`, the name of its `parent` (None: a root), other names for it.

    `background`: no animal, but something that looks like one or lies in front of one.
    """

    name: str
    rank: str
    parent: str | None = None
    synonyms: tuple[str, ...] = ()
    background: bool = False


def split_stage(name: str) -> tuple[str, str | None]:
    """Take the stage off a name: "Diptera (larva)" -> ("diptera", "larva"), "Acari" -> ("acari", None), both folded."""
    folded = _folded(name)
    found = _STAGE_ENDING.match(folded)
    if found and found["taxon"]:
        return found["taxon"], STAGES[found["stage"]]
    return folded, None


@dataclass(frozen=True, init=False)
class Taxonomy:
    """Taxa in the order in which they were given, which is the order of every answer; equal when their taxa are.

    Raises TaxonomyError on a name or synonym that two taxa share, an unknown parent, a circle, and an animal
    below background (or the reverse); all of them in one message.
    """

    taxa: tuple[Taxon, ...] = field(repr=False)
    names: tuple[str, ...]
    _by_name: dict[str, Taxon] = field(repr=False, compare=False)
    _ancestors: dict[str, tuple[str, ...]] = field(repr=False, compare=False)

    def __init__(self, taxa: Iterable[Taxon]) -> None:
        taxa = tuple(taxa)
        by_name, problems = _index(taxa)
        problems += _parent_problems(taxa)
        if problems:
            raise TaxonomyError("; ".join(problems))
        object.__setattr__(self, "taxa", taxa)
        object.__setattr__(self, "names", tuple(taxon.name for taxon in taxa))
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "_ancestors", _ancestors(taxa))

    def __iter__(self) -> Iterator[Taxon]:
        return iter(self.taxa)

    def __len__(self) -> int:
        return len(self.taxa)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._look_up(name) is not None

    def find(self, name: str) -> Taxon:
        """The taxon of this name or synonym, whatever its case or stage; TaxonomyError with the nearest names."""
        taxon = self._look_up(name)
        if taxon is None:
            near = difflib.get_close_matches(split_stage(name)[0], self._by_name, n=3, cutoff=0.6)
            nearest = ", ".join(dict.fromkeys(self._by_name[key].name for key in near))
            raise TaxonomyError(
                f"no taxon is called {name!r}; "
                + (f"the nearest are {nearest}" if nearest else f"the taxa are {', '.join(self.names)}")
            )
        return taxon

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The names above this taxon, nearest first, without itself."""
        return self._ancestors[self.find(name).name]

    def descendants(self, name: str) -> frozenset[str]:
        """The names below this taxon, without itself."""
        above = self.find(name).name
        return frozenset(below for below, line in self._ancestors.items() if above in line)

    def with_ancestors(self, names: Iterable[str]) -> tuple[str, ...]:
        """These taxa and everything above them, each once, in the taxonomy's order."""
        wanted: set[str] = set()
        for name in names:
            taxon = self.find(name)
            wanted.update((taxon.name, *self._ancestors[taxon.name]))
        return tuple(name for name in self.names if name in wanted)

    def _look_up(self, name: str) -> Taxon | None:
        folded = _folded(name)
        # The whole name first: a taxon may itself end in a word that reads as a stage.
        for candidate in (folded, _OPEN_ENDING.sub("", folded)):
            for key in (candidate, _OPEN_ENDING.sub("", split_stage(candidate)[0])):
                if key in self._by_name:
                    return self._by_name[key]
        return None


def _folded(name: str) -> str:
    """A name as it is compared: no accents, no case, `_` as a space, single spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return " ".join(plain.casefold().replace("_", " ").split())


def _index(taxa: tuple[Taxon, ...]) -> tuple[dict[str, Taxon], list[str]]:
    by_name: dict[str, Taxon] = {}
    problems = []
    for taxon in taxa:
        keys = dict.fromkeys(_folded(name) for name in (taxon.name, *taxon.synonyms))
        for key in keys:
            if not key:
                problems.append(f"the taxon {taxon.name!r} has an empty name or synonym")
            elif key in by_name:
                problems.append(f"{key!r} stands for both {by_name[key].name!r} and {taxon.name!r}")
            else:
                by_name[key] = taxon
    return by_name, problems


def _parent_problems(taxa: tuple[Taxon, ...]) -> list[str]:
    by_exact_name = {taxon.name: taxon for taxon in taxa}
    problems = []
    for taxon in taxa:
        if taxon.parent is None:
            continue
        parent = by_exact_name.get(taxon.parent)
        if parent is None:
            near = difflib.get_close_matches(taxon.parent, by_exact_name, n=1, cutoff=0.6)
            hint = f", did you mean {near[0]!r}?" if near else ", add it to the list"
            problems.append(f"{taxon.name!r} has the parent {taxon.parent!r}, which no taxon is called{hint}")
        elif parent.background != taxon.background:
            problems.append(f"{taxon.name!r} and its parent {parent.name!r} must both be background, or neither")
        elif _circles(taxon, by_exact_name):
            problems.append(f"{taxon.name!r} is its own ancestor: check the parents {_chain(taxon, by_exact_name)}")
    return problems


def _circles(taxon: Taxon, by_exact_name: Mapping[str, Taxon]) -> bool:
    return _chain(taxon, by_exact_name).endswith(f" > {taxon.name}")


def _chain(taxon: Taxon, by_exact_name: Mapping[str, Taxon]) -> str:
    """The parents from this taxon upwards, "a > b > a" where they come round again."""
    seen = [taxon.name]
    above = taxon.parent
    while above is not None and above in by_exact_name:
        seen.append(above)
        if above in seen[:-1]:
            break
        above = by_exact_name[above].parent
    return " > ".join(seen)


def _ancestors(taxa: tuple[Taxon, ...]) -> dict[str, tuple[str, ...]]:
    parents = {taxon.name: taxon.parent for taxon in taxa}
    lines: dict[str, tuple[str, ...]] = {}
    for name in parents:
        line: list[str] = []
        above = parents[name]
        while above is not None:
            line.append(above)
            above = parents[above]
        lines[name] = tuple(line)
    return lines


ROOT = "Invertebrata"
"""The name above every animal of the built-in taxonomy: an animal, and nobody says which."""

SOIL = Taxonomy(
    (
        Taxon(ROOT, "informal", None, ("animal", "animals", "invertebrate", "invertebrates", "unknown",
                                       "unidentified")),
        Taxon("Arthropoda", "phylum", ROOT, ("arthropod", "arthropods")),
        Taxon("Hexapoda", "subphylum", "Arthropoda", ("hexapod", "hexapods")),
        Taxon("Collembola", "class", "Hexapoda", ("collembolan", "collembolans", "collembole", "collemboles",
                                                  "springtail", "springtails")),
        Taxon("Poduromorpha", "order", "Collembola", ("poduromorph", "poduromorphs")),
        Taxon("Entomobryomorpha", "order", "Collembola", ("entomobryomorph", "entomobryomorphs")),
        Taxon("Pseudosinella", "genus", "Entomobryomorpha"),
        Taxon("Symphypleona", "order", "Collembola", ("symphypleone", "symphypleones", "globular springtail",
                                                      "globular springtails")),
        Taxon("Protura", "class", "Hexapoda", ("proturan", "proturans", "conehead", "coneheads", "protoure",
                                               "protoures")),
        Taxon("Diplura", "class", "Hexapoda", ("dipluran", "diplurans", "diploure", "diploures",
                                               "two-pronged bristletail", "two-pronged bristletails")),
        Taxon("Rhabdura", "suborder", "Diplura", ("campodeidae", "campodeid", "campodeids", "campodea")),
        Taxon("Dicellurata", "suborder", "Diplura", ("japygidae", "japygid", "japygids", "japyx")),
        Taxon("Insecta", "class", "Hexapoda", ("insect", "insects", "insecte", "insectes")),
        Taxon("Formicidae", "family", "Insecta", ("ant", "ants", "fourmi", "fourmis")),
        Taxon("Solenopsis", "genus", "Formicidae"),
        Taxon("Tetramorium", "genus", "Formicidae"),
        Taxon("Coleoptera", "order", "Insecta", ("beetle", "beetles", "coleoptere", "coleopteres")),
        Taxon("Diptera", "order", "Insecta", ("fly", "flies", "diptere", "dipteres")),
        Taxon("Aphidoidea", "superfamily", "Insecta", ("aphididae", "aphid", "aphids", "puceron", "pucerons")),
        Taxon("Myriapoda", "subphylum", "Arthropoda", ("myriapod", "myriapods", "myriapode", "myriapodes")),
        Taxon("Symphyla", "class", "Myriapoda", ("symphylan", "symphylans", "symphyle", "symphyles")),
        Taxon("Pauropoda", "class", "Myriapoda", ("pauropod", "pauropods", "pauropode", "pauropodes")),
        Taxon("Diplopoda", "class", "Myriapoda", ("millipede", "millipedes", "diplopod", "diplopods", "diplopode",
                                                  "diplopodes")),
        Taxon("Julida", "order", "Diplopoda", ("julidae", "julid", "julids", "iulida", "iulidae", "iule", "iules")),
        Taxon("Polydesmida", "order", "Diplopoda", ("polydesmidae", "polydesmid", "polydesmids", "polydesmus")),
        Taxon("Glomerida", "order", "Diplopoda", ("glomeridae", "glomeris", "pill millipede", "pill millipedes")),
        Taxon("Chilopoda", "class", "Myriapoda", ("centipede", "centipedes", "chilopod", "chilopods", "chilopode",
                                                  "chilopodes")),
        Taxon("Geophilomorpha", "order", "Chilopoda", ("geophilidae", "geophilid", "geophilids", "geophilus",
                                                       "geophilomorph", "geophilomorphs")),
        Taxon("Lithobiomorpha", "order", "Chilopoda", ("lithobiidae", "lithobiid", "lithobiids", "lithobius",
                                                       "lithobiomorph", "lithobiomorphs")),
        Taxon("Isopoda", "order", "Arthropoda", ("isopod", "isopods", "isopode", "isopodes", "oniscidea", "woodlouse",
                                                 "woodlice", "cloporte", "cloportes")),
        Taxon("Arachnida", "class", "Arthropoda", ("arachnid", "arachnids", "arachnide", "arachnides")),
        Taxon("Acari", "subclass", "Arachnida", ("acarina", "mite", "mites", "acarien", "acariens")),
        Taxon("Mesostigmata", "order", "Acari", ("gamasida", "gamasina", "mesostigmatid", "mesostigmatids")),
        Taxon("Trombidiformes", "order", "Acari", ("prostigmata", "actinedida")),
        Taxon("Oribatida", "order", "Acari", ("cryptostigmata", "oribatid", "oribatids", "oribate", "oribates")),
        Taxon("Pseudoscorpiones", "order", "Arachnida", ("pseudoscorpionida", "pseudoscorpion", "pseudoscorpions")),
        Taxon("Araneae", "order", "Arachnida", ("araneida", "spider", "spiders", "araignee", "araignees")),
        Taxon("Annelida", "phylum", ROOT, ("annelid", "annelids", "annelide", "annelides")),
        Taxon("Enchytraeidae", "family", "Annelida", ("enchytraeid", "enchytraeids", "enchytreide", "enchytreides",
                                                      "potworm", "potworms")),
        Taxon("Lumbricidae", "family", "Annelida", ("lumbricid", "lumbricids", "earthworm", "earthworms", "lombric",
                                                    "lombrics", "ver de terre", "vers de terre")),
        Taxon("Nematoda", "phylum", ROOT, ("nematode", "nematodes", "roundworm", "roundworms")),
        Taxon("Mollusca", "phylum", ROOT, ("mollusc", "molluscs", "mollusk", "mollusks", "mollusque", "mollusques")),
        Taxon("Gastropoda", "class", "Mollusca", ("gastropod", "gastropods", "gasteropode", "gasteropodes", "snail",
                                                  "snails", "slug", "slugs", "escargot", "limace")),
        Taxon("background", "informal", None, ("no animal",), background=True),
        Taxon("root", "informal", "background", ("roots", "plant root", "plant roots", "racine", "racines"),
              background=True),
        Taxon("hyphae", "informal", "background", ("hypha", "fungal hyphae", "mycelium", "hyphe", "hyphes"),
              background=True),
        Taxon("organic matter", "informal", "background", ("litter", "debris", "matiere organique"), background=True),
    )
)  # fmt: skip
"""The built-in taxonomy `soil`: what buried scanners show, and what is taken for it."""
