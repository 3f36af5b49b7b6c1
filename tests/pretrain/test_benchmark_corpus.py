"""The benchmark of the corpus tells its stages, of places enough for clusters, and of what was asked for."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from soilpipe.pretrain import corpus as product
from soilpipe.pretrain.near_duplicates import MEMBERS

SMALL = ["--scanners", "1", "--scans", "2", "--size", "1024", "--side", "64", "--no-detections", "--threads", "1"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import corpus

    return corpus


def test_as_set_there_are_places_for_more_than_one_cluster(benchmark: Any) -> None:
    asked = benchmark.arguments_of([])
    places = asked.scanners * asked.scans * benchmark.cells_of_a_scan(asked, 42.333)
    assert places == 1536 and round(places / MEMBERS) == 3


@pytest.mark.slow
def test_stages_are_told_of_a_corpus_that_is_built_anew_each_time(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kept"
    arguments = benchmark.arguments_of([*SMALL, "--folder", str(folder), "--large", "1100", "--dim", "8"])
    (folder / "inbox").mkdir(parents=True)
    benchmark.make_store(folder, arguments.scanners, arguments.scans, arguments.size, False, 1)
    built: list[tuple[str, int]] = []
    build = product.build_corpus

    def noted(*given: Any, **more: Any) -> Any:
        assert not more["folder"].exists()  # a finished one would only be opened
        made = build(*given, **more)
        built.append((more["folder"].name, made.manifest.counts.scans_read))
        return made

    monkeypatch.setattr(product, "build_corpus", noted)
    for _ in range(2):
        built.clear()
        benchmark.run(folder, arguments)
        assert built == [("warm-up", 1), ("candidates", 2), ("corpus", 2)]
    told = capsys.readouterr().out
    assert "2 scans, 128 places" in told and "128 candidates in 1 cluster: nothing for k-means to do" in told
    four = r" +([\d.]+) +[\d.]+ +[\d.]+ +[\d.]+$"
    seconds = [
        float(one) for one in re.findall("^(?:all|reading|embedding|near-dup|pictures)[a-z-, ]*?" + four, told, re.M)
    ]
    assert len(seconds) == 10 and seconds[0] == pytest.approx(sum(seconds[1:5]), abs=0.3)


def test_a_store_of_other_scans_is_not_taken_for_the_one_asked_for(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inbox" / "bench_1").mkdir(parents=True)
    (tmp_path / "inbox" / "bench_1" / "truth.json").write_text("{}")
    (tmp_path / "soilpipe.yaml").write_text("project: corpus")
    monkeypatch.setattr(sys, "argv", ["corpus.py", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"size 1536 \(now 4096\)"):  # of a release that kept no settings
        benchmark.main()
    monkeypatch.setattr(benchmark, "run", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["corpus.py", "--folder", str(tmp_path), "--size", "1536"])
    benchmark.main()
    monkeypatch.setattr(sys, "argv", ["corpus.py", "--folder", str(tmp_path), "--size", "1536", "--scans", "4"])
    with pytest.raises(SystemExit, match=r"scans 12 \(now 4\)"):
        benchmark.main()
