"""The trained centre-point network as a detector: its passes over a scan, what they find joined, and, where it has a
second stage, judged once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from soilpipe.detect import decode
from soilpipe.detect.base import CONTRAST, LOCAL, Detections, DetectorInfo, evens_contrast
from soilpipe.detect.near_misses import BELOW, NearMiss, nearest, reach
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.passes import HEAD_OF, Passes, PassName
from soilpipe.detect.second_stage.crops import CUT_FROM
from soilpipe.detect.second_stage.kept import kept
from soilpipe.detect.second_stage.looking import FROM, SECOND, SecondLook
from soilpipe.detect.second_stage.network import SecondStage
from soilpipe.detect.thresholds import least_scores, own_thresholds
from soilpipe.detect.tiled import InputWindows, find_peaks

if TYPE_CHECKING:
    from soilpipe.background import Registration
    from soilpipe.tiles import ScanImage

ALGORITHM = "centre-point-2"  # what is not in the weights: scales, ownership, decoding; part of the analysis


class Tolerance(NamedTuple):
    """By how much two answers for one animal may differ. score: 0..1; box: of a side, in its longer sides."""

    score: float
    box: float


GPU_TOLERANCE = Tolerance(score=1e-4, box=5e-4)
"""Of a GPU's answer in float32 from a CPU's, whatever the tiles. It adds up in another order, which on a CPU with other
kernels moves scores by less than 1e-6 and sides by less than 2e-5; bf16 moves them by some 5e-3. An animal whose score
lies within it of the threshold may be found by one of them alone."""


class CentrePointDetector:
    """A trained centre-point network with its card: a `Detector`.

    `device`: where it computes; by default a GPU when there is one. On a CPU the answer is exact in the sense of
    `soilpipe.detect.tiled`; a GPU's agrees with it within GPU_TOLERANCE. Both compute in float32 (IEEE, no TF32) unless
    the card says `precision` bf16: then the trunk is bf16 on every device, the heads float32, and the analysis is
    another one. bf16 moves scores by some thousandths and so a few detections across the threshold, and whether a
    machine is fast with it must not decide what is counted. CPUs that multiply bf16 (AMX, AVX512-BF16) are about twice
    as fast in it, others slower.
    `core`: the side of the tiles, px of the model's scale; None chooses by the size of the image.
    """

    def __init__(
        self,
        network: CentrePointNetwork,
        card: Mapping[str, Any],
        *,
        version: str = "unsaved",
        device: str | torch.device | None = None,
        core: int | None = None,
    ) -> None:
        if network.taxa != len(card["taxa"]):
            raise ValueError(f"a network of {network.taxa} taxa does not fit a card of {len(card['taxa'])}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network
        self.card = dict(card)
        self.core = core
        self.passes = Passes.of(card)
        self._evens = evens_contrast(card)
        self.bf16 = card.get("precision", "float32") == "bf16"
        folded = network.folded()
        self._folded = (folded.in_bf16() if self.bf16 else folded).to(self.device)
        second = self._folded.second if SECOND in card else None  # by a card without it the first stage answers alone
        self._second = SecondLook(second, self.device) if isinstance(second, SecondStage) else None
        self.info = DetectorInfo(
            name=card["name"],
            version=version,
            taxa=tuple(card["taxa"]),
            um_per_px=float(card["um_per_px"]),
            threshold=float(card["threshold"]),
            validation=card["validation"],
            settings={
                "algorithm": ALGORITHM,
                "border_mm": float(card["border_mm"]),
                "border_tolerance": float(card["border_tolerance"]),
                "heads": list(card["heads"]),
                **self.passes.settings(),
                **({"precision": card["precision"]} if "precision" in card else {}),
                **({CONTRAST: LOCAL} if evens_contrast(card) else {}),
                **own_thresholds(card),
                **({SECOND: {FROM: float(card[SECOND][FROM])}} if SECOND in card else {}),
            },
            uses_difference=bool(card.get("difference", True)),
        )

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """Animals in one scan, best first; boxes in px of the scan at full resolution, clipped to it."""
        passes = self._passes(scan, references, registrations)
        return self.detect_windows(passes, scan.height, scan.width, scan.um_per_px, threshold=threshold)

    def detect_nearly(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> tuple[Detections, list[NearMiss]]:
        """As `detect`, and what nearly was one."""
        passes = self._passes(scan, references, registrations)
        those = self._those_on(scan.um_per_px)
        least = least_scores(self.info, threshold)
        below = reach(float(least.min()), BELOW)
        if self._second is not None:
            judged = self._judged_twice(passes, those, scan.height, scan.width, scan.um_per_px)
            missing = least[judged.labels] - judged.scores
            nearly = (missing > 0) & (missing <= below)
            found = _as_float32(judged.select(missing <= 0))
            return found, nearest(found.boxes, judged.boxes[nearly], missing[nearly])
        looks = self._look(passes, those, scan.height, scan.width, least, below=below)
        found = self._settled([look.select(look.scores >= least[look.labels]) for look in looks], scan.um_per_px)
        boxes, gaps = [], []
        for index, look in enumerate(looks):
            gap = least[look.labels] - look.scores
            near = (gap > 0) & (gap <= below) & (those.owner(look.boxes, scan.um_per_px) == index)
            boxes.append(look.boxes[near])
            gaps.append(gap[near])
        return found, nearest(found.boxes, np.concatenate(boxes), np.concatenate(gaps))

    def _passes(
        self, scan: ScanImage, references: Sequence[ScanImage], registrations: Sequence[Registration]
    ) -> dict[PassName, InputWindows]:
        from soilpipe.background import ModelInput, even_contrast

        if not self.info.uses_difference:  # weights that never saw a difference would read noise into it
            references, registrations = (), ()
        even = even_contrast(scan) if self._evens else None
        passes: dict[PassName, InputWindows] = {
            name: ModelInput(scan, references, registrations, scale, even=even)
            for name, scale in self.scales(scan.um_per_px).items()
        }
        if self._second is None:
            return passes
        return {name: kept(windows) if name in CUT_FROM else windows for name, windows in passes.items()}

    def scales(self, of_scan: float) -> dict[PassName, float]:
        """The um/px at which each pass wants to see a scan of `of_scan` um/px."""
        return self._those_on(of_scan).scales(self.info.um_per_px)

    def _those_on(self, of_scan: float) -> Passes:
        return self.passes.on(self.info.um_per_px, of_scan)

    def detect_windows(
        self,
        passes: Mapping[PassName, InputWindows],
        height: int,
        width: int,
        um_per_px: float,
        *,
        threshold: float | None = None,
        offset: tuple[int, int] = (0, 0),
    ) -> Detections:
        """As `detect`, from what the passes read; `height`, `width`, `um_per_px` are those of full resolution."""
        least = least_scores(self.info, threshold)
        if self._second is not None:
            judged = self._judged_twice(passes, self._those_on(um_per_px), height, width, um_per_px, offset=offset)
            return _as_float32(judged.select(judged.scores >= least[judged.labels]))
        looks = self._look(passes, self._those_on(um_per_px), height, width, least, offset=offset)
        return self._settled([look.select(look.scores >= least[look.labels]) for look in looks], um_per_px)

    def _judged_twice(
        self,
        passes: Mapping[PassName, InputWindows],
        those: Passes,
        height: int,
        width: int,
        um_per_px: float,
        *,
        offset: tuple[int, int] = (0, 0),
    ) -> Detections:
        """All candidates as the second stage sees them, each animal once, best first; boxes float64."""
        assert self._second is not None
        least = np.full(len(self.info.taxa), float(self.card[SECOND][FROM]))
        looks = self._look(passes, those, height, width, least, offset=offset)
        candidates = _best_first(those.settled(looks, um_per_px))
        return _best_first(self._second.at(candidates, passes, height, width, um_per_px))

    def _look(
        self,
        passes: Mapping[PassName, InputWindows],
        those: Passes,
        height: int,
        width: int,
        least: np.ndarray,
        *,
        below: float = 0.0,
        offset: tuple[int, int] = (0, 0),
    ) -> list[Detections]:
        """What each pass sees from the lowest threshold on, or from `below` under it; boxes float64."""
        looks = []
        for name in those.names:
            windows = passes[name]
            peaks = find_peaks(
                self._folded,
                HEAD_OF[name],
                windows,
                float(least.min()),
                below=below,
                device=self.device,
                core=self.core,
                offset=offset,
            )
            boxes = decode.peak_boxes(peaks, windows.factor, height, width)
            labels = peaks.taxon.argmax(axis=1).astype(np.int64)
            looks.append(Detections(boxes, decode.scores_of(peaks), labels, self.info.taxa))
        return looks

    def _settled(self, looks: list[Detections], um_per_px: float) -> Detections:
        """What the passes found, each animal once, best first."""
        return _as_float32(_best_first(self._those_on(um_per_px).settled(looks, um_per_px)))


def _best_first(found: Detections) -> Detections:
    """By falling score, without doubles."""
    box = found.boxes
    order = np.lexsort((box[:, 0], box[:, 1], -found.scores.astype(np.float64)))
    return found.select(order[decode.without_doubles(box[order])])


def _as_float32(found: Detections) -> Detections:
    """The same with the boxes that a detector answers with."""
    return Detections(found.boxes.astype(np.float32), found.scores, found.labels, found.taxa)
