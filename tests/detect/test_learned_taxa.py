"""Taxa with too few examples count as what lies above them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.coco import LabelError, read_labels
from soilpipe.detect.learned_taxa import Learned, learned_taxa, remainders, roll_up
from soilpipe.detect.mixed import mix, read_simulated
from soilpipe.detect.split import split_labels
from soilpipe.taxonomy import SOIL, Taxon, Taxonomy

Labelled = Callable[..., Path]


def learned(path: Path, least: int, simulated: Path | None = None, **given: Any) -> Learned:
    split = split_labels(read_labels(path, path.parent), val_images=[])
    if simulated is not None:
        split = mix(split, [read_simulated(simulated)])
    return learned_taxa(split, SOIL, given.get("taxa"), given.get("single_class", False), least)


def named(**counts: int) -> Callable[[dict[str, Any]], None]:
    """So many annotations of each category, `_` for a space."""

    def change(data: dict[str, Any]) -> None:
        data["categories"] = [{"id": n, "name": name.replace("_", " ")} for n, name in enumerate(counts)]
        ids = [n for n, count in enumerate(counts.values()) for _ in range(count)]
        assert len(ids) == len(data["annotations"])
        for one, category in zip(data["annotations"], ids, strict=True):
            one["category_id"] = category

    return change


def test_the_commonest_taxa_stay_and_the_rest_rolls_up() -> None:
    counts = {"Collembola": 40, "Poduromorpha": 5, "Acari": 24, "Oribatida": 25, "Diplura": 4, "Nematoda": 1}
    assert roll_up(counts, SOIL, 20) == {
        "Collembola": "Collembola",
        "Poduromorpha": "Collembola",
        "Acari": "Acari",
        "Oribatida": "Oribatida",
        "Diplura": "Invertebrata",
        "Nematoda": "Invertebrata",
    }


def test_what_gathers_above_counts_together() -> None:
    assert roll_up({"Diplura": 12, "Protura": 9, "Acari": 50}, SOIL, 20)["Diplura"] == "Hexapoda"
    assert roll_up({"Rhabdura": 12, "Dicellurata": 9}, SOIL, 20) == {"Rhabdura": "Diplura", "Dicellurata": "Diplura"}


def test_members_stay_beside_a_remainder_and_not_beside_animals_that_nobody_told_further() -> None:
    told = {"Collembola": 24, "Poduromorpha": 25, "Acari": 50}
    assert roll_up(told, SOIL, 20) == {taxon: taxon for taxon in told}
    untold = roll_up({**told, "Collembola": 25}, SOIL, 20)
    assert untold == {"Collembola": "Collembola", "Poduromorpha": "Collembola", "Acari": "Acari"}
    rare = roll_up({"Poduromorpha": 300, "Entomobryomorpha": 12, "Symphypleona": 9, "Acari": 50}, SOIL, 20)
    assert (rare["Poduromorpha"], rare["Entomobryomorpha"]) == ("Poduromorpha", "Collembola")
    assert remainders(("Poduromorpha", "Collembola", "Acari"), SOIL) == {"Collembola": ("Poduromorpha",)}


def test_any_animal_may_stand_beside_the_commonest_taxa_however_many_are_left_over() -> None:
    assert roll_up({"Invertebrata": 500, "Collembola": 25}, SOIL, 20)["Collembola"] == "Collembola"
    assert remainders(("Invertebrata", "Collembola"), SOIL) == {"Invertebrata": ("Collembola",)}


def test_a_taxon_at_the_top_stays_however_few() -> None:
    plain = Taxonomy((Taxon("disc", "kind"), Taxon("bar", "kind")))
    assert roll_up({"disc": 1, "bar": 50}, plain, 20) == {"disc": "disc", "bar": "bar"}


def test_labels_follow_their_taxa(labelled: Labelled) -> None:
    path = labelled(images=4, animals=8, change=named(Collembola=22, Poduromorpha=4, nematode=6))
    found = learned(path, 20)
    assert found.taxa == ("Invertebrata", "Collembola")
    assert found.rolled_up == {"Poduromorpha": ("Collembola", 4), "Nematoda": ("Invertebrata", 6)}
    assert found.remainders == {"Invertebrata": ("Collembola",)}
    labels = [label for image in found.split.training.labelled for label in image.labels.tolist()]
    assert (labels.count(0), labels.count(1)) == (6, 26)


def test_a_single_taxon_stays_what_it_is_and_few_of_several_are_animals(labelled: Labelled) -> None:
    assert learned(labelled(images=1, animals=3, change=named(Acari=3)), 20).taxa == ("Acari",)
    few = learned(labelled(images=1, animals=3), 20)
    assert few.taxa == ("Invertebrata",) and few.rolled_up["Collembola"] == ("Invertebrata", 1)


def test_taxa_that_were_asked_for_are_not_rolled_up(labelled: Labelled) -> None:
    found = learned(labelled(images=1, animals=3), 20, taxa=["Acari", "Collembola"])
    assert found.taxa == ("Acari", "Collembola") and not found.rolled_up


def test_a_name_that_no_taxon_has_is_told_with_the_remedy(labelled: Labelled) -> None:
    with pytest.raises(LabelError, match=r"blob.*Name them in the taxonomy, or train a single class"):
        learned(labelled(images=1, change=named(blob=6)), 20)


def test_simulated_scenes_bring_no_taxa_of_their_own_and_keep_their_names_apart(
    labelled: Labelled, tmp_path: Path
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["info"] = {"simulated": True}
        data["categories"] = [{"id": 1, "name": "Acari"}, {"id": 2, "name": "Nematoda"}]

    source = labelled(scanners={"A": 2}, change=change)
    folder = tmp_path / "seasons"
    folder.mkdir()
    for file in (source, *tmp_path.glob("*.png")):
        file.rename(folder / file.name)
    path = labelled(scanners={"A": 2}, animals=6)
    found = learned(path, 1, simulated=folder)
    assert found.taxa == ("Collembola", "Acari")
    images = {image.file_name: image for image in found.split.training.labelled}
    assert set(images) == {"A_0.png", "A_1.png", "simulated-0/A_0.png", "simulated-0/A_1.png"}
    nematodes = images["simulated-0/A_0.png"]
    assert nematodes.simulated and nematodes.scanner_id == "simulated-0/A"
    assert nematodes.labels[~nematodes.crowd].tolist() == [1, 1, 1] and nematodes.crowd.sum() == 3
    assert not found.split.validation.labelled


def test_a_folder_without_simulated_labels_is_refused(labelled: Labelled, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no labels\.json and no truth\.json is there"):
        read_simulated(tmp_path)
    labelled(images=1)
    with pytest.raises(LabelError, match="does not say that its scenes are simulated"):
        read_simulated(tmp_path)
