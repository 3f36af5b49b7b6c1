"""One colour and one short code per taxon, the same in every picture and plot.

Nineteen colours that everybody can tell apart do not exist. The palette is therefore that of Okabe and Ito (2008),
whose colours are told apart with every common kind of colour blindness, given out so that the groups that soil
scanners show most get a colour of their own; rarer groups share one, and the three-letter code beside a box says
which it is. Colour is never the only sign.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from soilpipe.taxonomy import SOIL, Taxonomy

RGB = tuple[int, int, int]

VERMILION: RGB = (213, 94, 0)
ORANGE: RGB = (230, 159, 0)
YELLOW: RGB = (240, 228, 66)
GREEN: RGB = (0, 158, 115)
SKY: RGB = (86, 180, 233)
BLUE: RGB = (0, 114, 178)
PURPLE: RGB = (204, 121, 167)
GREY: RGB = (205, 205, 205)

COLOURS: Mapping[str, RGB] = {
    "Invertebrata": GREY,
    "Collembola": SKY,
    "Acari": VERMILION,
    "Enchytraeidae": YELLOW,
    "Symphyla": GREEN,
    "Diplura": PURPLE,
    "Chilopoda": ORANGE,
    "Diplopoda": BLUE,
    "Formicidae": VERMILION,
    "Isopoda": PURPLE,
    "Araneae": BLUE,
    "Coleoptera": ORANGE,
    "Diptera": GREEN,
    "Lumbricidae": PURPLE,
    "Nematoda": SKY,
    "Protura": YELLOW,
    "Pauropoda": GREEN,
    "Pseudoscorpiones": BLUE,
    "Aphidoidea": SKY,
    "Gastropoda": ORANGE,
}
_LINE = {YELLOW: (184, 163, 0), GREY: (110, 110, 110)}  # lost on white paper: lines there take a darker one
_CYCLE = (SKY, VERMILION, GREEN, ORANGE, PURPLE, BLUE, YELLOW)


def taxon_colour(taxon: str, taxonomy: Taxonomy = SOIL) -> RGB:
    """The taxon's own colour, else that of its nearest coloured ancestor below the root, else one by its name."""
    for name in (taxon, *_ancestors(taxon, taxonomy)):
        if name in COLOURS and (name != "Invertebrata" or taxon == "Invertebrata"):
            return COLOURS[name]
    return _CYCLE[zlib.crc32(taxon.encode()) % len(_CYCLE)]


def line_colour(taxon: str, taxonomy: Taxonomy = SOIL) -> str:
    """The taxon's colour as `#rrggbb`, dark enough for a line on white."""
    colour = taxon_colour(taxon, taxonomy)
    red, green, blue = _LINE.get(colour, colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def taxon_codes(taxa: Iterable[str], taxonomy: Taxonomy = SOIL) -> dict[str, str]:
    """Three letters per taxon, unique in the taxonomy and so the same in every picture.

    Groups with a colour choose first. A code is the first three letters, or else the first two and a later one.

    >>> taxon_codes(["Diplura", "Diplopoda", "Diptera"])
    {'Diplura': 'Dip', 'Diplopoda': 'Dil', 'Diptera': 'Dit'}
    """
    asked = set(taxa)
    known = [name for name in COLOURS if name in taxonomy] + list(taxonomy.names)
    codes: dict[str, str] = {}
    for taxon in dict.fromkeys(known + sorted(asked)):
        stem = taxon[:2]
        choices = [stem + letter for letter in taxon[2:]] + [f"{stem}{number}" for number in range(1, 1000)]
        codes[taxon] = next(code for code in choices if code not in codes.values())
    return {taxon: code for taxon, code in codes.items() if taxon in asked}


def _ancestors(taxon: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    return taxonomy.ancestors(taxon) if taxon in taxonomy else ()
