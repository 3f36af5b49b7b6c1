from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image

from soilpipe.ingest import shards
from soilpipe.ingest.zarr_writer import SHARD, describe_files, shard_side, write_image
from soilpipe.store import MissingKeyError, Store
from soilpipe.tiles import ZarrPixels, image_from_array, open_image, tile_grid

SCAN = "A20-20240306T060000-1a2b3c4d"
FOLDER = f"scans/A20/2024/{SCAN}"
KEY = f"{FOLDER}/image.zarr"


def bands(image: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(image), SHARD):
        yield image[top : top + SHARD]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(store: Store, image: np.ndarray, um_per_px: float | None = 21.17) -> None:
    write_image(bands(image), image.shape[:2], store, KEY, SCAN, um_per_px)


# One shard and less; odd sides; several shards with ragged ends; a level 1 that is gathered from three bands.
@pytest.mark.parametrize("shape", [(1, 1), (90, 130), (513, 700), (2049, 515), (4099, 2100)])
def test_every_pixel_of_every_level_reads_back(shape: tuple[int, int], store: Store) -> None:
    image = noise(*shape)
    with dask.config.set(num_workers=4):
        write(store, image)
    expected = image_from_array(image, 21.17)
    written = open_image(store, SCAN, 21.17)
    assert len(written.levels) == len(expected.levels)
    for level, pixels in zip(expected.levels, written.levels, strict=True):
        assert (pixels.height, pixels.width) == (level.height, level.width)
        whole = level.read(0, level.height, 0, level.width)
        assert np.array_equal(pixels.read(0, level.height, 0, level.width), whole)


def test_every_task_writes_one_whole_shard(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    real = shards._write_shard

    def spy(array: zarr.Array, top: int, left: int, block: np.ndarray) -> None:
        written.append((array, top, left, block.shape))
        real(array, top, left, block)

    monkeypatch.setattr(shards, "_write_shard", spy)
    write(store, noise(4099, 2100))
    for array, top, left, (height, width, _) in written:
        for axis, start, size in ((1, top, height), (2, left, width)):
            assert start % array.shards[axis] == 0
            assert size == min(array.shards[axis], array.shape[axis] - start)
    assert len({(array.name, top, left) for array, top, left, _ in written}) == len(written) == 3 * 2 + 2 + 1 + 1


def test_the_digests_are_those_of_the_shards_as_they_lie_in_the_store(store: Store) -> None:
    image = noise(2100, 1100)
    digests = write_image(bands(image), image.shape[:2], store, KEY, SCAN, None)
    shards = [entry.key for entry in store.list(KEY) if "/c/" in entry.key]
    assert digests == {key.removeprefix(KEY + "/"): store.sha256(key) for key in shards}
    told = describe_files(store, FOLDER, KEY, image.shape[:2], digests)
    assert told == describe_files(store, FOLDER, KEY, image.shape[:2])
    store.delete(shards[0])
    with pytest.raises(MissingKeyError):
        describe_files(store, FOLDER, KEY, image.shape[:2], digests)


@pytest.mark.parametrize("in_memory", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_cluster_writes_the_same_bytes(
    in_memory: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client, LocalCluster

    def not_here(*_: object) -> None:
        raise AssertionError("the shards were written in this process")

    image = noise(6200, 2300) if in_memory else noise(2100, 2300)
    write(store, image)
    if not in_memory:  # as on other machines
        monkeypatch.setattr("soilpipe.ingest.shards.is_shared_with", lambda client: False)
    other = Store(tmp_path / "other")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        monkeypatch.setattr(dask, "compute", not_here)
        write(other, image)
    files = describe_files(store, FOLDER, KEY, image.shape[:2])
    assert describe_files(other, FOLDER, KEY, image.shape[:2]) == files


def test_a_black_picture_is_written_not_left_out(store: Store) -> None:
    write(store, np.zeros((700, 600, 3), np.uint8))
    paths = [record.path for record in describe_files(store, FOLDER, KEY, (700, 600))]
    assert "image.zarr/0/c/0/0/0" in paths
    group = zarr.open_group(store.zarr(KEY, read_only=True), mode="r")
    assert group["0"].nchunks_initialized == group["0"].nchunks == 4


def test_twice_is_once_and_the_files_are_all_described(store: Store, tmp_path: Path) -> None:
    image = noise(513, 700)
    write(store, image)
    files = describe_files(store, FOLDER, KEY, (513, 700))
    assert {f"{FOLDER}/{file.path}" for file in files} == {entry.key for entry in store.list(FOLDER)}
    write(store, image)
    assert describe_files(store, FOLDER, KEY, (513, 700)) == files
    store.delete(f"{KEY}/1/c/0/0/0")
    with pytest.raises(MissingKeyError, match="1/c/0/0/0"):
        describe_files(store, FOLDER, KEY, (513, 700))


def test_a_flipped_byte_is_noticed_by_its_checksum(store: Store, tmp_path: Path) -> None:
    write(store, noise(90, 130))
    shard = tmp_path / "store" / KEY / "0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Exception, match=r"(?i)checksum|corrupt"):
        open_image(store, SCAN, 21.17).levels[0].read(0, 90, 0, 130)


def test_too_few_rows_are_no_image(store: Store) -> None:
    image = noise(90, 130)
    with pytest.raises(ValueError, match="90 rows of 100"):
        write_image(bands(image), (100, 130), store, KEY, SCAN, None)


def test_ome_zarr_reads_it_with_its_scale(store: Store, tmp_path: Path) -> None:
    image = noise(1100, 700)
    write(store, image)
    (node,) = Reader(parse_url(tmp_path / "store" / KEY))()
    assert [level.shape for level in node.data] == [(3, 1100, 700), (3, 550, 350)]
    assert np.array_equal(np.asarray(node.data[0]).transpose(1, 2, 0), image)
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
    model = Image.from_zarr(zarr.open_group(tmp_path / "store" / KEY, mode="r"))
    multiscale = model.ome_attributes.multiscales[0]
    assert [axis.unit for axis in multiscale.axes] == [None, "micrometer", "micrometer"]
    scales = [dataset.coordinateTransformations[0].scale for dataset in multiscale.datasets]
    assert scales == [[1.0, 21.17, 21.17], [1.0, 42.34, 42.34]]


def test_without_a_resolution_there_is_no_unit(store: Store, tmp_path: Path) -> None:
    write(store, noise(90, 130), um_per_px=None)
    model = Image.from_zarr(zarr.open_group(tmp_path / "store" / KEY, mode="r"))
    assert [axis.unit for axis in model.ome_attributes.multiscales[0].axes] == [None, None, None]


@pytest.mark.parametrize(("size", "side"), [(1, 512), (512, 512), (513, 1024), (2048, 2048), (9000, 2048)])
def test_shards_are_whole_chunks(size: int, side: int) -> None:
    assert shard_side(size) == side


def test_a_walk_along_the_rows_decodes_each_strip_once(store: Store) -> None:
    image = noise(2600, 4200)
    write(store, image)
    group = zarr.open_group(store.zarr(KEY, read_only=True), mode="r")

    class Counted:
        shape, chunks, shards = group["0"].shape, group["0"].chunks, group["0"].shards
        decoded = 0

        def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
            block = group["0"][window]
            self.decoded += block.size
            return block

    counted = Counted()
    pixels = ZarrPixels(counted)
    for tile in tile_grid(2600, 4200, core=320, halo=96, stride=8):
        y0, y1, x0, x1 = tile.window
        assert np.array_equal(pixels.read(y0, y1, x0, x1), image[y0:y1, x0:x1])
    assert counted.decoded == image.size
