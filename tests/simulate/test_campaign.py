"""The figures in field.py are those of the real campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.simulate import campaign
from soilpipe.simulate.field import BY_NAME, CAMPAIGN, FIELD
from soilpipe.taxonomy import SOIL


def test_the_campaigns_figures_are_those_of_its_table(shared_data: Path) -> None:
    told = campaign.summarise(shared_data / "soil_scan_tables" / "descent_manual_points.csv")
    for subject, rounded in CAMPAIGN.items():
        measured = told[subject]
        assert rounded.per_100cm2 == pytest.approx(measured.per_100cm2, abs=0.0051), subject
        assert rounded.stay_24h == pytest.approx(measured.stay_24h, abs=0.0051), subject
        assert rounded.together == pytest.approx(measured.together, abs=0.0051), subject
        assert rounded.activity_cv == pytest.approx(measured.activity_cv, abs=0.051), subject


def test_no_common_taxon_of_the_campaign_is_left_out(shared_data: Path) -> None:
    told = campaign.summarise(shared_data / "soil_scan_tables" / "descent_manual_points.csv")
    assert {subject for subject, summary in told.items() if summary.n > 10} - set(CAMPAIGN) <= {"unknown"}


def test_a_taxons_orders_share_its_rate() -> None:
    for subject, figures in CAMPAIGN.items():
        orders = [taxon for taxon in FIELD if taxon.from_table == subject]
        assert sum(taxon.per_100cm2 for taxon in orders) == pytest.approx(figures.per_100cm2), subject
        assert {taxon.stay_24h for taxon in orders} == {figures.stay_24h}


def test_every_simulated_taxon_is_an_animal_of_the_taxonomy_under_its_own_name() -> None:
    for taxon in FIELD:
        assert SOIL.find(taxon.name).name == taxon.name
        assert not SOIL.find(taxon.name).background


def test_four_gaps_of_six_hours_are_one_day() -> None:
    entomobryids = BY_NAME["Entomobryomorpha"]
    assert entomobryids.stay(6.0) ** 4 == pytest.approx(entomobryids.stay_24h)


def test_a_neighbour_a_day_later_counts_as_stayed_and_a_random_one_does_not(tmp_path: Path) -> None:
    rows = ["scanner,time_local,subject,number,predicate,x_px,y_px,width_px,height_px"]
    for day in range(1, 29):
        rows.append(f"a,2023-06-{day:02d}T08:00,snail,1,present,{1000 + 600 * (day % 2)},2000,5094,4680")
        rows.append(f"a,2023-06-{day:02d}T08:00,stone snail,2,present,{500 if day < 15 else 3000},{9 * day},5094,4680")
    path = tmp_path / "points.csv"
    path.write_text("\n".join(rows) + "\n")
    told = campaign.summarise(path)
    assert told["snail"].stay_24h == 0.0
    assert told["stone snail"].stay_24h == pytest.approx(26 / 27)
    assert told["stone snail"].n == 56
