"""Colours are converted only where it is asked for, to what Pillow makes of the whole image, and told."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from soilpipe.ingest.colours import Colours, colours_of
from soilpipe.ingest.receipts import read_receipt
from soilpipe.tiles import open_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = {"rXYZ": (0.60974, 0.31111, 0.01947), "gXYZ": (0.20528, 0.62567, 0.06087), "bXYZ": (0.14919, 0.06322, 0.74457)}
OF_SRGB = {
    "rXYZ": (0.43607, 0.22249, 0.01392),
    "gXYZ": (0.38515, 0.71687, 0.09708),
    "bXYZ": (0.14307, 0.06061, 0.7141),
}


def profile(name: str, space: bytes = b"RGB ", gamma: float = 2.2, primaries: dict | None = None) -> bytes:
    """A small ICC profile of version 2: primaries (adapted to D50) and one gamma for all."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    text = name.encode("latin-1") + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(12 + 67)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"RGB ":
        tags |= {tag.encode(): xyz(values) for tag, values in (primaries or ADOBE).items()}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    else:
        tags[b"kTRC"] = curve
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, body in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(struct.pack(">i", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    return header.ljust(128, b"\0") + table + data


def converted_whole(image: np.ndarray, icc: bytes) -> np.ndarray:
    opened = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    result = ImageCms.profileToProfile(
        Image.fromarray(image),
        opened,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert result is not None
    return np.asarray(result)


def saved(image: np.ndarray, suffix: str, icc: bytes | None) -> bytes:
    file = io.BytesIO()
    options = {"compression": "tiff_lzw"} if suffix == ".tif" else {}
    Image.fromarray(image).save(file, {".tif": "TIFF", ".png": "PNG"}[suffix], icc_profile=icc, **options)
    return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("icc", [profile("Adobe-like"), profile("dark", gamma=1.2, primaries=OF_SRGB)])
@pytest.mark.parametrize("heights", [[700], [256, 256, 188], [1, 300, 399]])
def test_bands_give_what_the_whole_image_gives(icc: bytes, heights: list[int]) -> None:
    image = noise(700, 61)
    conversion = colours_of(icc, "srgb")
    bands = iter(np.split(image, np.cumsum(heights)[:-1]))
    result = np.concatenate(list(conversion.applied(bands)))
    assert np.array_equal(result, converted_whole(image, icc)) and not np.array_equal(result, image)
    assert conversion.told is not None and conversion.told.outcome == "converted"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("wanted", ["as_is", "srgb"])
def test_a_scan_is_converted_where_it_is_asked_for_and_told(suffix: str, wanted: str, make_bench) -> None:
    bench = make_bench(colours=wanted)
    image, icc = noise(300, 90), profile("Adobe-like")
    bench.deliver(f"A20_2024-03-06_06H00M{suffix}", saved(image, suffix, icc))
    (outcome,) = bench.run()
    stored = open_image(bench.store, outcome.scan_id, 1.0).levels[0].read(0, 300, 0, 90)
    receipt = read_receipt(bench.store, outcome.scan_id)
    assert outcome.reason is None
    if wanted == "srgb":
        assert np.array_equal(stored, converted_whole(image, icc))
        assert receipt.colours == Colours(outcome="converted", profile="Adobe-like")
    else:
        assert np.array_equal(stored, image) and receipt.colours is None


@pytest.mark.parametrize("icc", [SRGB, None], ids=["tagged", "untagged"])
def test_what_is_srgb_and_what_has_no_profile_stays_as_it_is(icc: bytes | None, make_bench) -> None:
    bench = make_bench(colours="srgb")
    image = noise(300, 90)
    bench.deliver("A20_2024-03-06_06H00M.png", saved(image, ".png", icc))
    (outcome,) = bench.run()
    assert np.array_equal(open_image(bench.store, outcome.scan_id, 1.0).levels[0].read(0, 300, 0, 90), image)
    told = read_receipt(bench.store, outcome.scan_id).colours
    assert told is not None and told.outcome == ("is_srgb" if icc else "no_profile") and outcome.reason is None


def test_a_gamma_a_little_off_is_not_taken_for_srgb() -> None:
    for gamma, outcome in ((2.2, "converted"), (1.8, "converted")):
        told = colours_of(profile("near", gamma=gamma, primaries=OF_SRGB), "srgb").told
        assert told is not None and told.outcome == outcome


@pytest.mark.parametrize(
    ("icc", "why"),
    [
        (profile("Scanner grey", b"GRAY"), "Scanner grey is for GRAY, not for RGB"),
        (SRGB[:200], "cannot be read"),
        (b"no profile at all", "cannot be read"),
        (profile("broken")[:180] + bytes(200), "cannot be read"),
    ],
    ids=["grey", "cut", "words", "zeros"],
)
def test_a_profile_of_no_use_is_a_doubt_and_no_refusal(icc: bytes, why: str, make_bench) -> None:
    bench = make_bench(colours="srgb")
    image = noise(300, 90)
    bench.deliver("A20_2024-03-06_06H00M.tif", saved(image, ".tif", icc))
    (outcome,) = bench.run()
    assert outcome.kind == "accepted" and outcome.reason is not None and why in outcome.reason
    assert np.array_equal(open_image(bench.store, outcome.scan_id, 1.0).levels[0].read(0, 300, 0, 90), image)
    told = read_receipt(bench.store, outcome.scan_id).colours
    assert told is not None and told.outcome == "not_converted"


def test_what_a_profile_calls_itself_is_printable_and_short() -> None:
    told = colours_of(profile("a\x1b[31m\n" + "x" * 200), "srgb").told
    assert told is not None and told.profile is not None
    assert told.profile.isprintable() and len(told.profile) <= 80
