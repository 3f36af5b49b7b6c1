"""How many animals of which taxa a window shows, how long they stay, and how large they are.

`CAMPAIGN` holds rounded summaries of `descent_manual_points.csv` (github emmabelaud/soil_scan, MIT; 244 daily scans
of four buried scanners, summer 2023, 427 cm2 each). `campaign.py` computes them and says how; a test recomputes and
compares. Taxa that the table does not hold, or holds only as a part of a larger one, get the shares stated in `_ROWS`.
Body lengths are the ranges that the literature gives for temperate European soils, in mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Campaign:
    """Summary of one subject of the campaign; the figures are those of `campaign.TaxonSummary`, rounded.

    Rates are animals per scan and 100 cm2. `stay_24h` is a share, less chance. `together` and `activity_cv` as there.
    """

    per_100cm2: float
    stay_24h: float
    together: float
    activity_cv: float


CAMPAIGN: Mapping[str, Campaign] = {
    "collembola": Campaign(0.55, 0.22, 0.07, 0.9),
    "enchytraeidae": Campaign(0.38, 0.11, 0.01, 1.4),
    "symphyla": Campaign(0.25, 0.08, 0.00, 0.8),
    "acari": Campaign(0.21, 0.10, 0.01, 0.0),
    "rhabdura": Campaign(0.14, 0.05, 0.00, 1.1),
    "formicidae": Campaign(0.07, 0.09, 0.06, 2.6),
    "pseudoscorpiones": Campaign(0.06, 0.02, 0.00, 1.3),
    "diptera larva": Campaign(0.04, 0.12, 0.00, 0.8),
    "lithobiomorpha": Campaign(0.04, 0.03, 0.21, 0.0),
    "geophilomorpha": Campaign(0.03, 0.44, 0.00, 0.0),
    "polydesmidae": Campaign(0.03, 0.31, 0.27, 0.8),
    "pauropoda": Campaign(0.03, 0.00, 0.06, 1.6),
    "isopoda": Campaign(0.03, 0.08, 0.00, 0.0),
    "dicellurata": Campaign(0.02, 0.18, 0.00, 1.4),
    "gastropoda": Campaign(0.01, 0.77, 0.00, 0.0),
    "lumbricidae": Campaign(0.01, 0.00, 0.00, 1.4),
}

ACTIVITY_CORRELATION_H = 96.0
"""How fast a taxon's activity at a scanner changes: correlation time in hours (stated, not measured)."""
SCANNER_CV = 0.7
"""Spread of a taxon's mean between scanners; the median over the campaign's five commonest taxa is 0.62."""
MOVES_WITHIN = 0.5
"""Share of the animals leaving a place that are seen elsewhere in the window in the next scan (stated)."""


@dataclass(frozen=True)
class TaxonField:
    """One taxon of the simulation.

    per_100cm2: expected animals per scan. stay_24h: probability of being at the very same place 24 h later.
    together: probability that a newcomer settles beside one of its kind. activity_cv: spread of the expected number
    from scan to scan. length_mm: shortest and longest body, without antennae and cerci; lengths are log-normal, with
    95 % within. speed_mm_s: walking speed. from_table: the campaign's subject, or None where the figures are stated.
    """

    name: str
    per_100cm2: float
    stay_24h: float
    together: float
    activity_cv: float
    length_mm: tuple[float, float]
    speed_mm_s: float
    from_table: str | None

    def stay(self, hours: float) -> float:
        """Probability of resting through `hours`.

        Leaving is taken as memoryless, so a share s after 24 h gives s ** (hours / 24): 22 % in 24 h are 68 % per 6 h.
        """
        return float(self.stay_24h ** (hours / 24.0))


# name, subject of the campaign (None: stated), share of that subject's rate, length in mm, speed in mm/s.
# Shares of the orders within Collembola and Acari are stated: the campaign did not tell them apart.
_ROWS: tuple[tuple[str, str, float, tuple[float, float], float], ...] = (
    ("Poduromorpha", "collembola", 0.40, (0.6, 2.0), 0.6),
    ("Entomobryomorpha", "collembola", 0.45, (0.9, 3.5), 2.0),
    ("Symphypleona", "collembola", 0.15, (0.4, 1.5), 1.0),
    ("Oribatida", "acari", 0.50, (0.3, 1.0), 0.2),
    ("Mesostigmata", "acari", 0.30, (0.4, 1.2), 2.0),
    ("Trombidiformes", "acari", 0.20, (0.25, 1.5), 2.0),
    ("Rhabdura", "rhabdura", 1.0, (2.5, 7.0), 4.0),
    ("Dicellurata", "dicellurata", 1.0, (4.0, 12.0), 3.0),
    ("Symphyla", "symphyla", 1.0, (2.0, 8.0), 4.0),
    ("Pauropoda", "pauropoda", 1.0, (0.5, 1.6), 2.0),
    ("Polydesmida", "polydesmidae", 1.0, (4.0, 15.0), 1.5),
    ("Geophilomorpha", "geophilomorpha", 1.0, (10.0, 30.0), 3.0),
    ("Lithobiomorpha", "lithobiomorpha", 1.0, (5.0, 20.0), 6.0),
    ("Isopoda", "isopoda", 1.0, (2.5, 11.0), 3.0),
    ("Pseudoscorpiones", "pseudoscorpiones", 1.0, (1.5, 3.5), 1.0),
    ("Formicidae", "formicidae", 1.0, (2.0, 5.0), 5.0),
    ("Diptera", "diptera larva", 1.0, (2.0, 10.0), 0.3),
    ("Enchytraeidae", "enchytraeidae", 1.0, (2.0, 15.0), 0.3),
    ("Lumbricidae", "lumbricidae", 1.0, (14.0, 30.0), 0.8),
    ("Gastropoda", "gastropoda", 1.0, (1.5, 6.0), 0.3),
)


def _from_campaign(name: str, subject: str, share: float, length_mm: tuple[float, float], speed: float) -> TaxonField:
    told = CAMPAIGN[subject]
    return TaxonField(
        name=name,
        per_100cm2=told.per_100cm2 * share,
        stay_24h=told.stay_24h,
        together=told.together,
        activity_cv=told.activity_cv,
        length_mm=length_mm,
        speed_mm_s=speed,
        from_table=subject,
    )


# The campaign's manual points hold no Julida, Nematoda or Protura: modest rates, staying like their nearest kin.
_STATED = (
    TaxonField("Julida", 0.05, 0.30, 0.10, 0.8, (5.0, 25.0), 2.0, None),
    TaxonField("Nematoda", 0.03, 0.10, 0.00, 0.8, (0.8, 3.0), 0.1, None),
    TaxonField("Protura", 0.03, 0.20, 0.00, 0.8, (0.6, 1.8), 0.3, None),
)

FIELD: tuple[TaxonField, ...] = (*(_from_campaign(*row) for row in _ROWS), *_STATED)
TAXA: tuple[str, ...] = tuple(taxon.name for taxon in FIELD)
CASTING: tuple[str, ...] = tuple(n for n in TAXA if n not in ("Enchytraeidae", "Lumbricidae", "Nematoda"))
"""Taxa whose skins, shells or carcasses lie about for weeks; a dead worm is gone in days."""
BY_NAME: Mapping[str, TaxonField] = {taxon.name: taxon for taxon in FIELD}
TOTAL_PER_100CM2: float = sum(taxon.per_100cm2 for taxon in FIELD)
