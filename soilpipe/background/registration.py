"""Where an earlier scan lies under a later one, and how bright it is beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.lattice_fit import Field, Fit, high_pass, luminance, refine, warp_rows
from soilpipe.background.tone import LocalTone, apply_tone, match_local_tone, match_tone
from soilpipe.background.warp import Window
from soilpipe.tiles import Pixels, ScanImage

COARSE_PIXELS = 1_500_000  # the level where the shift of the whole, tone and likeness are found
FINEST_UM = 35.0  # um/px that shifts are refined to: 600 dpi whole, 1200 dpi at half scale, 2400 dpi at a quarter
_STEPS_FIRST, _STEPS_BETWEEN, _STEPS_LAST = 8, 3, 2  # at most; a carriage as steady as most takes 2, 1 and 1
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


def _finest(image: ScanImage) -> int:
    """The finest level that shifts are refined on."""
    return max(0, math.ceil(math.log2(FINEST_UM / image.um_per_px)))


def _read_whole(pixels: Pixels) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.read(0, pixels.height, 0, pixels.width))


def _ground(picture: npt.NDArray[np.uint8]) -> Floats:
    """Luminance without its local mean, clipped at three times its spread so that no animal or glare outweighs soil."""
    detail = high_pass(cv2.GaussianBlur(luminance(picture), (0, 0), 0.8))
    limit = 3 * 1.4826 * _spread(detail) + 1e-3
    return np.clip(detail, -limit, limit)


def _spread(detail: Floats) -> float:
    """Median of the absolute values, of one pixel in nine: the median of a million is slow, and no better."""
    return float(np.median(np.abs(detail[::3, ::3])))


def register(scan: ScanImage, reference: ScanImage) -> Registration:
    """`register_all` for one reference."""
    return register_all(scan, [reference])[0]


def register_all(scan: ScanImage, references: Sequence[ScanImage]) -> list[Registration]:
    """Lay each reference under `scan`: shift of the whole, then rows and blocks, then tone. Never raises for what it
    sees. What is found for one reference does not depend on the others; the scan is read once for all of them.

    1. Phase correlation of the ground's detail (Hann window) on the finest level of at most 1.5 MPix.
    2. From there to the finest level of 35 um/px or more, shifts of rows and blocks (see `lattice_fit`). The lattice
       belongs to the scan: one node per row of that level, a few across.
    3. Gain and offset per channel, of the whole and locally, on the first level (see `tone`).

    Pixels are read by bands of rows; nothing of full size is held.
    """
    coarse = _level_of(scan, COARSE_PIXELS)
    held = _Coarse.of(scan, coarse)
    found: list[Registration | _Laid] = [_lay(scan, held, reference, coarse) for reference in references]
    laid = [(one, reference) for one, reference in zip(found, references, strict=True) if isinstance(one, _Laid)]
    fits = [one.fit for one, _ in laid]
    fine = min(_finest(scan), coarse)
    with ThreadPoolExecutor(max(1, min(len(fits), cv2.getNumThreads())), "soilpipe-register") as pool:
        for k in range(coarse, fine - 1, -1):
            level = scan.levels[k]
            if k < coarse:
                for fit in fits:
                    fit.field = fit.field.at_level(level.height, 2.0)
            steps = _STEPS_FIRST if k == coarse else _STEPS_LAST if k == fine else _STEPS_BETWEEN
            refine(level, [reference.levels[k] for _, reference in laid], fits, steps, pool)
        finish = pool.map(lambda pair: _finish(scan, held, pair[0], pair[1], (coarse, fine)), laid)
        done = iter(list(finish))
    return [next(done) if isinstance(one, _Laid) else one for one in found]


@dataclass(frozen=True)
class _Coarse:
    """A picture on its first level, blurred, and the detail of its ground."""

    blurred: npt.NDArray[np.uint8]
    ground: Floats
    spread: float

    @classmethod
    def of(cls, image: ScanImage, level: int) -> _Coarse:
        picture = _read_whole(image.levels[level])
        ground = _ground(picture)
        return cls(_blurred(picture), ground, _spread(ground))


@dataclass
class _Laid:
    """A reference whose place is roughly known."""

    fit: Fit
    peak: float


def _lay(scan: ScanImage, held: _Coarse, reference: ScanImage, coarse: int) -> Registration | _Laid:
    """The shift of the whole, or why there is none."""
    ours, theirs = scan.levels[0], reference.levels[0]
    if (ours.height, ours.width) != (theirs.height, theirs.width):
        return _refused(f"its size is {theirs.width} x {theirs.height} px, the scan's {ours.width} x {ours.height} px")
    if min(ours.height, ours.width) < SMALLEST_SIDE:
        return _refused(f"{ours.width} x {ours.height} px is too small to register: {SMALLEST_SIDE} px at least")
    other = _ground(_read_whole(reference.levels[coarse]))
    spread = _spread(other)
    if held.spread < 0.05 or spread < 0.05:
        which = "the scan" if held.spread < 0.05 else "it"
        return _refused(f"{which} shows nothing to hold on to (one even colour)")

    hann = cv2.createHanningWindow(held.ground.shape[::-1], cv2.CV_32F)
    (dx, dy), peak = cv2.phaseCorrelate(held.ground.copy(), other, hann)  # it may window its input in place
    moved = math.hypot(dx, dy) * 2**coarse
    if moved > FARTHEST * min(ours.height, ours.width):
        return _refused(
            f"no match within {FARTHEST:.0%} of the shorter side (best: {moved:.0f} px away): "
            "the scanner was moved, or it shows other ground",
            float(peak),
        )
    columns = min(12, max(1, ours.width // 256))
    contrast = min(max(held.spread / spread, 0.25), 4.0)
    shape = (scan.levels[coarse].height, columns)
    return _Laid(Fit(Field(np.full(shape, dy, np.float32), np.full(shape, dx, np.float32)), contrast), float(peak))


def _finish(scan: ScanImage, held: _Coarse, laid: _Laid, reference: ScanImage, levels: tuple[int, int]) -> Registration:
    """Whether it shows the same ground, and its tone."""
    coarse, fine = levels
    field, ours = laid.fit.field, scan.levels[0]
    full = field.at_level(field.dy.shape[0], float(2**fine))
    rows = scan.levels[coarse].height
    at_coarse = field.at_level(rows, 2.0 ** (fine - coarse))
    seen, there = warp_rows(reference.levels[coarse], at_coarse, 0, rows)
    alike = _alike(held.ground, _ground(seen), there)
    if not alike >= LEAST_ALIKE:
        return _refused(
            f"what they show is too little alike (correlation {alike:.2f}, at least {LEAST_ALIKE} is needed): "
            "the scanner was moved, or the ground was",
            laid.peak,
            alike,
        )
    # Both are blurred alike: the resampled reference has lost some of its noise, which would pass for contrast.
    seen = _blurred(seen)
    gain, offset = match_tone(seen, held.blurred, there)
    window = (0, rows, 0, seen.shape[1])
    toned = apply_tone(seen, gain, offset, None, window, float(2**coarse), (ours.height, ours.width))
    local = match_local_tone(toned, held.blurred, there, scan.um_per_px * 2**coarse)
    return Registration(full.dy, full.dx, gain, offset, laid.peak, True, "", alike, local)


def _blurred(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return cv2.GaussianBlur(picture, (0, 0), 2.0)


def _alike(ground: Floats, other: Floats, there: npt.NDArray[np.bool_]) -> float:
    """Correlation of two pictures of the ground where both have pixels; 0 when nothing is left to compare."""
    a, b = ground[there], other[there]
    if a.size < SMALLEST_SIDE**2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (math.sqrt(float((a * a).sum()) * float((b * b).sum())) + 1e-9))
