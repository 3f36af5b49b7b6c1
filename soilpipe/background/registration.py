"""Where an earlier scan lies under a later one, and how bright it is beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.lattice_fit import Field, high_pass, luminance, refine, warp_rows
from soilpipe.background.tone import LocalTone, apply_tone, match_local_tone, match_tone
from soilpipe.background.warp import Window
from soilpipe.tiles import Pixels, ScanImage

COARSE_PIXELS = 1_500_000  # the level where the shift of the whole, tone and likeness are found
FINE_PIXELS = 40_000_000  # the finest level that shifts are refined on: 600 dpi A4 whole, 1200 dpi at half scale
SMALLEST_SIDE = 64  # px
FARTHEST = 0.05  # of the shorter side: what moved further is another view
LEAST_ALIKE = 0.25  # correlation of registered ground (local mean taken away): below it is other ground, or none

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Registration:
    """A reference laid under a scan.

    Attributes
    ----------
    dy, dx: (gy, gx) float32, px at full resolution: what the scan shows at (y, x), the reference shows at
        (y + dy, x + dx). Node (i, j) sits at y = (i + 1/2) H / gy, x = (j + 1/2) W / gx from the outer edge; bilinear
        between, constant beyond.
    gain, offset: (3,) float32: reference * gain + offset is as bright as the scan.
    peak: response of the phase correlation, 0 to 1.
    ok: whether the reference may be used; `reason` says why not, in words.
    alike: correlation of the ground of both, registered, -1 to 1.
    local: gain and offset that are left locally (fog); None when there is nothing to correct.
    """

    dy: Floats
    dx: Floats
    gain: Floats
    offset: Floats
    peak: float
    ok: bool
    reason: str
    alike: float = 0.0
    local: LocalTone | None = None

    def match_tone(
        self, picture: npt.NDArray[np.uint8], window: Window, factor: float, full: tuple[int, int]
    ) -> npt.NDArray[np.uint8]:
        """A window of the reference made as bright as the scan; see `tone.apply_tone`."""
        return apply_tone(picture, self.gain, self.offset, self.local, window, factor, full)


def _refused(reason: str, peak: float = 0.0, alike: float = 0.0) -> Registration:
    nothing = np.zeros((1, 1), np.float32)
    return Registration(nothing, nothing, np.ones(3, np.float32), np.zeros(3, np.float32), peak, False, reason, alike)


def _level_of(image: ScanImage, most_pixels: int) -> int:
    """The finest level with no more pixels than that (the coarsest there is, when all have more)."""
    for k, level in enumerate(image.levels):
        if level.height * level.width <= most_pixels:
            return k
    return len(image.levels) - 1


def _read_whole(pixels: Pixels) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.read(0, pixels.height, 0, pixels.width))


def _ground(picture: npt.NDArray[np.uint8]) -> Floats:
    """Luminance without its local mean, clipped at three times its spread so that no animal or glare outweighs soil."""
    detail = high_pass(cv2.GaussianBlur(luminance(picture), (0, 0), 0.8))
    limit = 3 * 1.4826 * float(np.median(np.abs(detail))) + 1e-3
    return np.clip(detail, -limit, limit)


def _spread(detail: Floats) -> float:
    return float(np.median(np.abs(detail)))


def register(scan: ScanImage, reference: ScanImage) -> Registration:
    """Lay `reference` under `scan`: shift of the whole, then rows and blocks, then tone. Never raises for what it sees.

    1. Phase correlation of the ground's detail (Hann window) on the finest level of at most 1.5 MPix.
    2. From there to the finest level of at most 40 MPix, shifts of rows and blocks (see `lattice_fit`). The lattice
       belongs to the scan: one node per row of that level, a few across.
    3. Gain and offset per channel, of the whole and locally, on the first level (see `tone`).

    Pixels are read by bands of rows; nothing of full size is held.
    """
    ours, theirs = scan.levels[0], reference.levels[0]
    if (ours.height, ours.width) != (theirs.height, theirs.width):
        return _refused(f"its size is {theirs.width} x {theirs.height} px, the scan's {ours.width} x {ours.height} px")
    if min(ours.height, ours.width) < SMALLEST_SIDE:
        return _refused(f"{ours.width} x {ours.height} px is too small to register: {SMALLEST_SIDE} px at least")
    coarse = min(_level_of(scan, COARSE_PIXELS), len(reference.levels) - 1)
    fine = min(_level_of(scan, FINE_PIXELS), coarse)
    small_scan, small_reference = _read_whole(scan.levels[coarse]), _read_whole(reference.levels[coarse])
    ground, reference_ground = _ground(small_scan), _ground(small_reference)
    if _spread(ground) < 0.05 or _spread(reference_ground) < 0.05:
        which = "the scan" if _spread(ground) < 0.05 else "it"
        return _refused(f"{which} shows nothing to hold on to (one even colour)")

    hann = cv2.createHanningWindow(ground.shape[::-1], cv2.CV_32F)
    (dx, dy), peak = cv2.phaseCorrelate(ground, reference_ground, hann)
    peak = float(peak)
    moved = math.hypot(dx, dy) * 2**coarse
    if moved > FARTHEST * min(ours.height, ours.width):
        return _refused(
            f"no match within {FARTHEST:.0%} of the shorter side (best: {moved:.0f} px away): "
            "the scanner was moved, or it shows other ground",
            peak,
        )

    columns = min(12, max(1, ours.width // 256))
    contrast = min(max(_spread(ground) / _spread(reference_ground), 0.25), 4.0)
    rows = scan.levels[coarse].height
    field = Field(np.full((rows, columns), dy, np.float32), np.full((rows, columns), dx, np.float32))
    field, _ = refine(scan.levels[coarse], reference.levels[coarse], field, contrast, steps=4)
    for k in range(coarse - 1, fine - 1, -1):
        field = field.at_level(scan.levels[k].height, 2.0)
        field, _ = refine(scan.levels[k], reference.levels[k], field, contrast, steps=2)

    full = field.at_level(field.dy.shape[0], float(2**fine))
    at_coarse = field.at_level(rows, 2.0 ** (fine - coarse))
    seen, there = warp_rows(reference.levels[coarse], at_coarse, 0, rows)
    alike = _alike(ground, _ground(seen), there)
    if not alike >= LEAST_ALIKE:
        return _refused(
            f"what they show is too little alike (correlation {alike:.2f}, at least {LEAST_ALIKE} is needed): "
            "the scanner was moved, or the ground was",
            peak,
            alike,
        )
    # Both are blurred alike: the resampled reference has lost some of its noise, which would pass for contrast.
    small_scan, seen = cv2.GaussianBlur(small_scan, (0, 0), 2.0), cv2.GaussianBlur(seen, (0, 0), 2.0)
    gain, offset = match_tone(seen, small_scan, there)
    window = (0, rows, 0, small_scan.shape[1])
    toned = apply_tone(seen, gain, offset, None, window, float(2**coarse), (ours.height, ours.width))
    local = match_local_tone(toned, small_scan, there, scan.um_per_px * 2**coarse)
    return Registration(full.dy, full.dx, gain, offset, peak, True, "", alike, local)


def _alike(ground: Floats, other: Floats, there: npt.NDArray[np.bool_]) -> float:
    """Correlation of two pictures of the ground where both have pixels; 0 when nothing is left to compare."""
    a, b = ground[there], other[there]
    if a.size < SMALLEST_SIDE**2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (math.sqrt(float((a * a).sum()) * float((b * b).sum())) + 1e-9))
