"""The second stage in detection: candidates in, the same candidates with new scores, boxes and taxa out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from soilpipe.detect.base import Detections
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.passes import PassName
from soilpipe.detect.second_stage.crops import Cut, crop, cuts_around
from soilpipe.detect.second_stage.network import SecondAnswer, SecondStage
from soilpipe.detect.tiled import InputWindows, workers_for

SECOND = "second_stage"  # card: what a second stage is given, and what it learned from, where there is one
FROM = "from"  # in it: score of the first stage from which a detection is a candidate
BATCH = 64  # crops at once: memory, and on a CPU the last bits, rest on it
NARROWEST = 1.0  # px at full resolution: no side of a box is made shorter


def second_problems(card: Mapping[str, Any]) -> list[str]:
    """What is wrong with what a card says of its second stage."""
    if (SECOND in card) != ("second" in card["architecture"]):
        return [f"`{SECOND}` and `second` in `architecture` (expected both or none)"]
    if SECOND not in card:
        return []
    told = card[SECOND]
    least = told.get(FROM) if isinstance(told, dict) else None
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 < least < 1:
        return [f"`{SECOND}` = {told!r} (expected `{FROM}`, a score between 0 and 1)"]
    return []


class SecondLook:
    """The second stage of a detector, folded and on its device."""

    def __init__(self, network: SecondStage, device: torch.device) -> None:
        self._network, self._device = network, device

    def at(
        self,
        candidates: Detections,
        windows: Mapping[PassName, InputWindows],
        height: int,
        width: int,
        um_per_px: float,
    ) -> Detections:
        """The candidates, in their order, as the second stage sees them.

        Boxes float64, px of a scan of that size and um/px, clipped to it. On a CPU each batch has one thread, so the
        bits do not depend on how many there are; nor on the tiles of the first stage, as long as its candidates do not.
        """
        if not len(candidates):
            return candidates
        cuts = cuts_around(candidates, windows, um_per_px)
        with full_precision():
            answers = self._answers([cuts[start : start + BATCH] for start in range(0, len(cuts), BATCH)], windows)
        animal, sides, taxon = (
            np.concatenate([getattr(answer, name).float().cpu().numpy() for answer in answers])
            for name in SecondAnswer._fields
        )
        scores = (1.0 / (1.0 + np.exp(-animal.astype(np.float64)))).astype(np.float32)
        boxes = moved(candidates.boxes, sides, cuts, height, width)
        return Detections(boxes, scores, taxon.argmax(axis=1).astype(np.int64), candidates.taxa)

    def _answers(
        self, batches: Sequence[Sequence[Cut]], windows: Mapping[PassName, InputWindows]
    ) -> list[SecondAnswer]:
        def read(batch: Sequence[Cut]) -> tuple[torch.Tensor, torch.Tensor]:
            pixels = np.stack([crop(cut, windows) for cut in batch])
            return torch.from_numpy(pixels), torch.tensor([cut.told for cut in batch], dtype=torch.float32)

        def answer(batch: tuple[torch.Tensor, torch.Tensor]) -> SecondAnswer:
            with torch.inference_mode():
                found: SecondAnswer = self._network(*(part.to(self._device) for part in batch))
                return found

        if self._device.type == "cuda":
            return [answer(read(batch)) for batch in batches]
        threads = torch.get_num_threads()
        workers = workers_for(len(batches), threads)
        try:
            with ThreadPoolExecutor(workers, "soilpipe-second", torch.set_num_threads, (1,)) as pool:
                answers, waiting = [], []
                for batch in batches:  # read here, one after the other; no more batches wait than there are workers
                    waiting.append(pool.submit(answer, read(batch)))
                    if len(waiting) > workers:
                        answers.append(waiting.pop(0).result())
                return [*answers, *(one.result() for one in waiting)]
        finally:
            torch.set_num_threads(threads)  # what a thread sets for itself holds for those that begin after it


def moved(boxes: np.ndarray, sides: np.ndarray, cuts: Sequence[Cut], height: int, width: int) -> np.ndarray:
    """(n, 4) boxes with their sides moved by (n, 4) `sides` of the cuts, float64, clipped to height x width."""
    unit = np.array([cut.side * cut.factor for cut in cuts])[:, None]
    there = boxes.astype(np.float64) + sides.astype(np.float64) * unit
    there = np.clip(there, 0.0, np.array([width, height, width, height], np.float64))
    thin = ((there[:, 2:] - there[:, :2]) < NARROWEST).any(axis=1)
    there[thin] = boxes[thin]
    return there
