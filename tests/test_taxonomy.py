"""Names as people write them lead to one taxon, and the built-in taxonomy knows what real campaigns wrote."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.config.taxa import RANKS
from soilpipe.errors import SoilpipeError
from soilpipe.taxonomy import ROOT, SOIL, Taxon, Taxonomy, TaxonomyError, split_stage

law = settings(deadline=None, derandomize=True)
soil_names = st.sampled_from(SOIL.names)


def _column(file: Path, column: str) -> set[str]:
    with file.open(newline="") as rows:
        return {row[column] for row in csv.DictReader(rows)}


def test_every_animal_of_the_real_campaign_is_found(shared_data: Path) -> None:
    subjects = _column(shared_data / "soil_scan_tables/descent_manual_points.csv", "subject")
    # "na" stands on the two lines of a scan on which nothing was looked at: no number, no predicate, no position.
    found = {subject: SOIL.find(subject) for subject in subjects - {"na"}}
    assert len(found) == 25
    assert not any(taxon.background for taxon in found.values())
    assert found["polydesmidae"].name == "Polydesmida"
    assert found["glomeris"].name == "Glomerida"
    assert found["diptera larva"].name == "Diptera"
    assert found["insecta larva"].name == "Insecta"
    assert found["unknown"].name == ROOT


def test_every_class_of_the_automatic_counts_is_found(shared_data: Path) -> None:
    classes = _column(shared_data / "soil_scan_tables/descent_auto_counts.csv", "class")
    for name in classes - {"multi_taxa"}:  # several animals of different taxa in one crop: no taxon
        assert SOIL.find(name).background == (name == "background")


def test_the_design_names_these_taxa() -> None:
    names = [
        "Collembola",
        "Poduromorpha",
        "Entomobryomorpha",
        "Symphypleona",
        "Pseudosinella",
        "Acari",
        "Mesostigmata",
        "Trombidiformes",
        "Oribatida",
        "Diplura",
        "Rhabdura",
        "Dicellurata",
        "Protura",
        "Symphyla",
        "Pauropoda",
        "Diplopoda",
        "Julida",
        "Polydesmida",
        "Glomerida",
        "Chilopoda",
        "Geophilomorpha",
        "Lithobiomorpha",
        "Isopoda",
        "Pseudoscorpiones",
        "Araneae",
        "Formicidae",
        "Solenopsis",
        "Tetramorium",
        "Coleoptera",
        "Diptera",
        "Aphidoidea",
        "Enchytraeidae",
        "Lumbricidae",
        "Nematoda",
        "Gastropoda",
    ]
    for name in names:
        assert SOIL.find(name).name == name
        assert SOIL.ancestors(name)[-1] == ROOT
    assert {taxon.name for taxon in SOIL if taxon.background} == {"background", "root", "hyphae", "organic matter"}


def test_no_background_counts_as_an_animal() -> None:
    below = SOIL.descendants(ROOT)
    assert not any(taxon.background for taxon in SOIL if taxon.name in below)
    assert below | {ROOT} == {taxon.name for taxon in SOIL if not taxon.background}


def test_a_parent_is_always_of_a_higher_rank() -> None:
    for taxon in SOIL:
        line = [SOIL.find(name).rank for name in (taxon.name, *SOIL.ancestors(taxon.name))]
        scientific = [RANKS.index(rank) for rank in line if rank != "informal"]
        assert scientific == sorted(set(scientific), reverse=True), taxon.name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ACARI", "Acari"),
        ("  acari ", "Acari"),
        ("mites", "Acari"),
        ("Araignée", "Araneae"),
        ("springtail", "Collembola"),
        ("animal", ROOT),
        ("Diptera (larva)", "Diptera"),
        ("diptera_larvae", "Diptera"),
        ("Coleoptera, larva", "Coleoptera"),
        ("Isopoda juvenile", "Isopoda"),
        ("Pseudosinella sp.", "Pseudosinella"),
        ("Pseudosinella sp. (juvenile)", "Pseudosinella"),
        ("Organic_Matter", "organic matter"),
    ],
)
def test_names_are_found_as_people_write_them(written: str, name: str) -> None:
    assert SOIL.find(written).name == name
    assert written in SOIL


def test_a_stage_is_told_apart_from_its_taxon() -> None:
    assert split_stage("Diptera (larva)") == ("diptera", "larva")
    assert split_stage("diptera larvae") == ("diptera", "larva")
    assert split_stage("Acari") == ("acari", None)
    assert split_stage("larva") == ("larva", None)  # a stage of nothing


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(TaxonomyError, match=r"'Colembola'.*Collembola") as told:
        SOIL.find("Colembola")
    assert isinstance(told.value, SoilpipeError)
    assert isinstance(told.value, LookupError)
    assert "Xyzzyx" not in SOIL
    assert 7 not in SOIL
    with pytest.raises(TaxonomyError):
        SOIL.find("")


def test_ancestors_come_nearest_first() -> None:
    assert SOIL.ancestors("pseudosinella") == ("Entomobryomorpha", "Collembola", "Hexapoda", "Arthropoda", ROOT)
    assert SOIL.ancestors(ROOT) == ()


@law
@given(st.lists(soil_names), st.randoms(use_true_random=False))
def test_with_ancestors_keeps_the_taxonomys_order_and_is_closed(names, random) -> None:
    together = SOIL.with_ancestors(names)
    assert together == tuple(name for name in SOIL.names if name in together)
    assert set(names) <= set(together)
    assert all(set(SOIL.ancestors(name)) <= set(together) for name in together)
    assert SOIL.with_ancestors(together) == together
    random.shuffle(names)
    assert SOIL.with_ancestors(names) == together


@law
@given(soil_names, soil_names)
def test_descendants_are_the_reverse_of_ancestors(one: str, other: str) -> None:
    assert (one in SOIL.descendants(other)) == (other in SOIL.ancestors(one))


@law
@given(soil_names, st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from(["", " (larva)", " sp."]))
def test_case_and_ending_never_change_the_taxon(name: str, case, ending: str) -> None:
    assert SOIL.find(case(name) + ending).name == name


@pytest.mark.parametrize(
    ("taxa", "told"),
    [
        ([Taxon("A", "order", "B")], "'B', which no taxon is called"),
        ([Taxon("Acari", "order"), Taxon("Mite", "order", "acari")], "did you mean 'Acari'"),
        ([Taxon("A", "order", "B"), Taxon("B", "order", "A")], "A > B > A"),
        ([Taxon("A", "order", "A")], "its own ancestor"),
        ([Taxon("A", "order"), Taxon("a", "order")], "stands for both 'A' and 'a'"),
        ([Taxon("A", "order"), Taxon("B", "order", synonyms=("a",))], "stands for both"),
        ([Taxon("A", "order"), Taxon("B", "order", "A", background=True)], "must both be background"),
        ([Taxon(" ", "order")], "empty name"),
    ],
)
def test_what_is_no_taxonomy_is_refused(taxa: list[Taxon], told: str) -> None:
    with pytest.raises(TaxonomyError) as refused:
        Taxonomy(taxa)
    assert told in str(refused.value)


def test_a_circle_is_told_once_for_each_of_its_taxa_and_not_below_it() -> None:
    with pytest.raises(TaxonomyError) as refused:
        Taxonomy([Taxon("A", "order", "B"), Taxon("B", "order", "A"), Taxon("C", "order", "A")])
    assert str(refused.value).count("own ancestor") == 2


def test_a_taxonomy_is_a_value() -> None:
    again = Taxonomy(list(SOIL))
    assert again == SOIL
    assert pickle.loads(pickle.dumps(SOIL)) == SOIL
    assert len(SOIL) == len(SOIL.names)
    with pytest.raises(AttributeError):
        SOIL.taxa = ()  # type: ignore[misc]
