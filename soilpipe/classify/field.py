"""How frequent the classes are where the detector finds something, told from scans that were drawn as they come.

How frequent background is depends on the detector: it is what that takes for an animal and is none. Where the labelled
scans were detected, it is counted. Else nobody knows it, and no number of bare windows that somebody chose to cut says
it: background then gets the share of one class among them all, which is no estimate and is told as none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilpipe.classify.examples import BACKGROUND, Examples

PSEUDO_COUNT = 0.5  # crops that every class is given beside those counted: no class has the frequency zero
ENOUGH = 30  # crops of detected scans, from which the share of background is told


@dataclass(frozen=True)
class Field:
    """The crops of scans drawn as they come: labels (m,) int64, scanners (m,), detected (m,) bool.

    background: its class; None without one. known: enough of the crops are of scans that were detected.
    """

    labels: np.ndarray
    scanners: np.ndarray
    detected: np.ndarray
    classes: int
    background: int | None
    known: bool

    @classmethod
    def of(cls, examples: Examples, labels: np.ndarray, rows: np.ndarray, classes: tuple[str, ...]) -> Field:
        """Of those of some labelled crops that `rows` names; `labels` (n,) int64 of all."""
        detected = np.array([source.detected for source in examples.sources], bool)[rows]
        background = classes.index(BACKGROUND) if BACKGROUND in classes else None
        known = background is None or int(detected.sum()) >= ENOUGH
        scanners = np.array(examples.scanners, object)[rows]
        return cls(labels[rows], scanners, detected, len(classes), background, known)

    @property
    def usable(self) -> np.ndarray:
        """(m,) bool: the crops that come as a run meets them; without detections, the labelled ones alone."""
        if self.background is None:
            return np.ones(len(self.labels), bool)
        return self.detected if self.known else self.labels != self.background

    def without(self, scanners: set[str]) -> Field:
        """The same without some scanners; all of it, where nothing would be left."""
        kept = np.array([scanner not in scanners for scanner in self.scanners.tolist()], bool)
        if not kept.any():
            return self
        detected = self.detected[kept]
        return Field(self.labels[kept], self.scanners[kept], detected, self.classes, self.background, self.known)

    def frequencies(self) -> np.ndarray:
        """(classes,) adding to 1; equal ones where there is no crop."""
        counts = np.bincount(self.labels, minlength=self.classes) + PSEUDO_COUNT
        if self.background is None:
            return np.asarray(counts / counts.sum())
        share = 1.0 / self.classes
        if self.known:
            there = self.labels[self.detected] == self.background
            share = (there.sum() + PSEUDO_COUNT) / (len(there) + PSEUDO_COUNT * self.classes)
        counts[self.background] = 0.0
        found = (1 - share) * counts / counts.sum()
        found[self.background] = share
        return np.asarray(found)

    def told(self) -> str:
        """In words, how the share of background is known."""
        if self.background is None:
            return "background is no class"
        if self.known:
            return f"counted on {int(self.detected.sum())} crops of scans that a detector was run on"
        return (
            "not known: too little was detected in the labelled scans. It has the share of one class, an assumption; "
            "threshold and sets promise what they say for labelled animals alone"
        )
