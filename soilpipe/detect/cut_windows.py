"""What a labelled window brings along of the scan that it was cut from."""

from __future__ import annotations

from dataclasses import replace

from soilpipe.background import Registration, load_references
from soilpipe.background.contrast import EvenContrast
from soilpipe.detect.labelled import LabelError, LabelledImage
from soilpipe.tiles import CutOut, ScanImage


def what_evens(image: LabelledImage) -> EvenContrast | None:
    """What evens the scan that a window was cut from; None where the image says nothing of it. LabelError where its
    file is damaged."""
    if image.contrast is None or image.origin is None:
        return None
    x, y = image.origin
    try:
        return EvenContrast.load(image.contrast).cut_at(y, x)
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(f"{image.contrast}: not what evens a scan ({error}); write the labels out again") from error


def with_its_references(
    image: LabelledImage, scan: ScanImage
) -> tuple[ScanImage, tuple[ScanImage, ...], tuple[Registration, ...]]:
    """A window that comes with the references of its scan (`LabelledImage.registered`), these, and their registrations.

    scan: the window as its file shows it; it comes back with its place in the scan. LabelError where the file of the
    references is damaged.
    """
    if image.registered is None or image.origin is None:
        return scan, (), ()
    try:
        cut = load_references(image.registered)
        references = tuple(one.image() for one in cut)
    except (OSError, ValueError, KeyError) as error:
        raise LabelError(
            f"{image.registered}: not the references of a scan ({error}); write the labels out again"
        ) from error
    x, y = image.origin
    if cut:
        scan = replace(scan, cut=CutOut(y, x, cut[0].full))
    return scan, references, tuple(one.registration for one in cut)
