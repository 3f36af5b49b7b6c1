from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import dask
import numpy as np
import pytest
from PIL import Image

from soilpipe.background import ModelInput, register_all
from soilpipe.pretrain.corpus import Corpus, CorpusBudget, CorpusError, NoNewScansError, build_corpus, open_corpus
from soilpipe.tiles import open_image
from tests.labels.conftest import START, Season
from tests.pretrain.corpus_fixtures import ANIMAL_BOX, SIDE, SMALL, Thumbnails, make_season


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    """Two scanners with four scans each, detected; only read from."""
    return make_season(tmp_path_factory.mktemp("season"), "A20", "B7", scans=4, detected=True)


@pytest.fixture(scope="module")
def corpus(season: Season, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """All of it, by seed 0."""
    folder = tmp_path_factory.mktemp("corpus")
    return build_corpus(season.store, season.project, since=None, encoder=Thumbnails(), budget=SMALL, folder=folder)


def test_a_corpus_holds_crops_as_the_detector_reads_them(season: Season, corpus: Corpus) -> None:
    assert len(corpus) > 30
    assert set(corpus.scanner.tolist()) == {"A20", "B7"}
    assert corpus.is_new.all()
    for row in (0, len(corpus) // 2, len(corpus) - 1):
        entry = corpus.entries[row]
        scan = open_image(season.store, entry.scan_id, 25_400 / 1200)
        references = [open_image(season.store, one, 25_400 / 1200) for one in entry.references]
        windows = ModelInput(scan, references, register_all(scan, references), 21.17)
        expected = windows.read(entry.y0, entry.y0 + SIDE, entry.x0, entry.x0 + SIDE)
        assert np.array_equal(corpus.pixels(np.array([row]))[0], expected)
    assert any(entry.references for entry in corpus.entries)


def test_people_see_what_was_chosen_and_what_was_dropped(corpus: Corpus) -> None:
    for name in ("crops.png", "near_duplicates.png"):
        sheet = np.asarray(Image.open(corpus.folder / name))
        assert sheet.shape[1] > 1000
        assert sheet.std() > 20
    told = corpus.summary()
    assert f"{len(corpus)} new crops of 8 scans of 2 scanners" in told
    assert "near-duplicates" in told


def test_animals_that_were_detected_are_among_the_candidates(corpus: Corpus) -> None:
    middle = ((ANIMAL_BOX[0] + ANIMAL_BOX[2]) / 2, (ANIMAL_BOX[1] + ANIMAL_BOX[3]) / 2)
    shown = [entry for entry in corpus.entries if entry.reason == "detection"]
    assert shown
    for entry in shown:
        assert entry.box[0] <= middle[0] <= entry.box[2]
        assert entry.box[1] <= middle[1] <= entry.box[3]
    counts = corpus.manifest.counts
    assert counts.candidates["detection"] == 2  # two scanners, one of their four scans


def test_ground_that_never_changes_is_dropped_as_a_near_duplicate(corpus: Corpus) -> None:
    counts = corpus.manifest.counts
    # Both scanners show one ground under fresh noise: 35 cells, whatever the number of scans.
    assert sum(counts.candidates.values()) > 80
    assert sum(counts.near_duplicates.values()) > 0.5 * sum(counts.candidates.values())
    assert len(corpus) == sum(counts.candidates.values()) - sum(counts.near_duplicates.values())


@pytest.mark.slow
def test_the_same_store_and_seed_give_the_same_manifest_whatever_the_workers(season: Season, tmp_path: Path) -> None:
    def made(name: str, seed: int, workers: int) -> Corpus:
        return build_corpus(
            season.store,
            season.project,
            since=START,
            encoder=Thumbnails(),
            budget=SMALL,
            seed=seed,
            folder=tmp_path / name,
            workers=workers,
        )

    one, three, other = made("one", 5, 1), made("three", 5, 3), made("other", 6, 2)
    with dask.config.set(scheduler="synchronous"):
        none = made("none", 5, 1)
    assert one.manifest_hash == three.manifest_hash == none.manifest_hash
    assert len({(corpus.folder / "crops.u8").read_bytes() for corpus in (one, three, none)}) == 1
    assert other.manifest_hash != one.manifest_hash


@pytest.mark.slow
def test_an_active_cluster_reads_the_scans_and_the_manifest_stays_the_same(
    season: Season, corpus: Corpus, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        made = build_corpus(
            season.store, season.project, since=None, encoder=Thumbnails(), budget=SMALL, folder=tmp_path
        )
        tasks = client.run(lambda dask_worker: len(dask_worker.data) + len(dask_worker.state.log))
    assert all(count > 0 for count in tasks.values())
    assert made.manifest_hash == corpus.manifest_hash
    assert (tmp_path / "crops.u8").read_bytes() == (corpus.folder / "crops.u8").read_bytes()


@pytest.mark.slow
def test_a_killed_run_is_made_again_and_a_finished_one_is_opened(season: Season, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(stage: str, done: int, of: int) -> None:
        if done == 3:
            raise KilledError

    ask = {"since": START, "budget": SMALL, "folder": tmp_path}
    with pytest.raises(KilledError):
        build_corpus(season.store, season.project, encoder=Thumbnails(), progress=kill, **ask)
    with pytest.raises(CorpusError, match="holds no corpus"):
        open_corpus(tmp_path)
    first = Thumbnails()
    whole = build_corpus(season.store, season.project, encoder=first, **ask)
    assert first.seen > 0
    second = Thumbnails()
    again = build_corpus(season.store, season.project, encoder=second, **ask)
    assert second.seen == 0
    assert again.manifest_hash == whole.manifest_hash
    # Another encoder tells other near-duplicates: nothing of the old one is used.
    third = Thumbnails(version="another")
    build_corpus(season.store, season.project, encoder=third, **ask)
    assert third.seen > 0


def test_only_scans_since_the_last_refresh_are_new(season: Season, tmp_path: Path) -> None:
    since = START + timedelta(hours=6)
    corpus = build_corpus(
        season.store, season.project, since=since, encoder=Thumbnails(), budget=SMALL, folder=tmp_path
    )
    assert {entry.captured_at for entry in corpus.entries} <= {START + timedelta(hours=6 * slot) for slot in (2, 3)}
    assert corpus.manifest.counts.scans_read == 4


def test_no_data_yet_is_told_and_is_no_failure(tmp_path: Path) -> None:
    empty = make_season(tmp_path)
    ask = {"encoder": Thumbnails(), "budget": SMALL, "folder": tmp_path / "corpus"}
    with pytest.raises(NoNewScansError, match=r"no scan has come to the store .* `soilpipe run`"):
        build_corpus(empty.store, empty.project, since=None, **ask)
    empty.scan(0)
    with pytest.raises(NoNewScansError, match="since 2024-03-06 00:00 UTC"):
        build_corpus(empty.store, empty.project, since=START, **ask)
    assert not (tmp_path / "corpus" / "manifest.json").exists()


def test_one_scanner_with_one_scan_is_enough(tmp_path: Path) -> None:
    season = make_season(tmp_path, scans=1)
    corpus = build_corpus(
        season.store, season.project, since=None, encoder=Thumbnails(), budget=SMALL, folder=tmp_path / "corpus"
    )
    # Nothing to compare with: change cannot be told, so crops are from anywhere, with no difference.
    assert {entry.reason for entry in corpus.entries} == {"anywhere"}
    assert (corpus.pixels(np.arange(len(corpus)))[:, 6] == 0).all()
    drawn = corpus.draw(np.random.default_rng(0), 256)
    assert 1 <= len(drawn) <= 35
    assert len(set(corpus.place[drawn].tolist())) == len(drawn)


def test_the_budget_is_kept(season: Season, tmp_path: Path) -> None:
    def made(name: str, budget: CorpusBudget) -> Corpus:
        return build_corpus(
            season.store, season.project, since=START, encoder=Thumbnails(), budget=budget, folder=tmp_path / name
        )

    few = made("few", CorpusBudget(crops=10, memory=0, bytes=60_000_000, scans=4, side=SIDE, eps=0.0, oversample=8))
    assert len(few) == 10
    assert few.manifest.counts.scans_read == 4
    assert set(few.manifest.scanners.values()) == {2}
    assert few.manifest.counts.over_budget > 0
    small = made("small", CorpusBudget(crops=500, memory=0, bytes=20 * 7 * SIDE * SIDE, scans=9, side=SIDE, eps=0.0))
    assert 0 < len(small) <= 20 + 6  # the share of each of the 6 scans is rounded up
    with pytest.raises(CorpusError, match="hold no two crops"):
        CorpusBudget(bytes=1000)


def test_a_damaged_corpus_says_what_to_do(corpus: Corpus, tmp_path: Path) -> None:
    shutil.copytree(corpus.folder, tmp_path, dirs_exist_ok=True)
    pixels = (tmp_path / "crops.u8").read_bytes()
    (tmp_path / "crops.u8").write_bytes(pixels[:-1])
    with pytest.raises(CorpusError, match="delete the folder"):
        open_corpus(tmp_path)
    (tmp_path / "crops.u8").write_bytes(pixels)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CorpusError, match="no manifest that this release reads"):
        open_corpus(tmp_path)
