"""Pictures named by a label file: decoded, laid upon their references, and kept as long as neighbours need them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from soilpipe.background import Registration
from soilpipe.background.registered_before import RegisteredBefore
from soilpipe.detect.coco import LabelError, LabelledImage
from soilpipe.detect.cut_windows import what_evens
from soilpipe.errors import SoilpipeError
from soilpipe.tiles import ScanImage, image_from_array

DEFAULT_DPI = 1200.0
MM_PER_INCH = 25.4
CACHE_BYTES = 1_500_000_000  # decoded pictures that one process keeps
MAX_PIXELS, MAX_MEMORY = 1_200_000_000, 4_000_000_000  # of a loose file: px, bytes
PICTURES = "pictures by content"  # among which registrations are kept


@dataclass(frozen=True)
class Scene:
    """A labelled image as a detector is asked about it."""

    image: LabelledImage
    scan: ScanImage
    references: tuple[ScanImage, ...]
    registrations: tuple[Registration, ...]


def read_picture(path: Path) -> np.ndarray:
    """A loose image file, (H, W, 3) uint8 RGB, as its rows lie in the file (no EXIF rotation).

    Read as `soilpipe.ingest` reads scans where its format libraries are installed, else with OpenCV.
    """
    try:
        from soilpipe.ingest.readers import open_reader
    except ImportError:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if picture is None:
            raise SoilpipeError(f"{path}: not an image that OpenCV reads") from None
        return np.ascontiguousarray(picture[..., ::-1])
    from soilpipe.ingest.readers.base import Refused

    try:
        with open_reader(path, max_pixels=MAX_PIXELS, max_memory=MAX_MEMORY) as reader:
            return np.concatenate(list(reader.bands(1024)))
    except Refused as refusal:
        raise SoilpipeError(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise SoilpipeError(f"{path}: cannot be read ({error.strerror})") from error


def um_per_px_of(image: LabelledImage, dpi: float | None) -> float:
    """µm per px of an image: by its own dpi, else by the argument, else 1200 dpi."""
    return 1000 * MM_PER_INCH / (image.dpi or dpi or DEFAULT_DPI)


class Pictures:
    """Decoded images of this process, the least used dropped first."""

    def __init__(self, dpi: float | None) -> None:
        self._dpi = dpi
        self._kept: OrderedDict[Path, ScanImage] = OrderedDict()
        self._content: dict[Path, str] = {}
        self._before = RegisteredBefore(PICTURES)

    def scan(self, image: LabelledImage) -> ScanImage:
        """The image with its pyramid. LabelError where it has another size than its labels say."""
        if image.path not in self._kept:
            picture = read_picture(image.path)
            if picture.shape[:2] != (image.height, image.width):
                raise LabelError(
                    f"{image.file_name} has {picture.shape[1]} x {picture.shape[0]} px, its labels were made on "
                    f"{image.width} x {image.height}. Labels and image do not belong together"
                )
            scan = image_from_array(picture, um_per_px_of(image, self._dpi), image.file_name)
            self._kept[image.path] = replace(scan, even=what_evens(image))
            room = max(1, CACHE_BYTES // (4 * image.width * image.height))
            while len(self._kept) > room:
                self._kept.popitem(last=False)
        self._kept.move_to_end(image.path)
        return self._kept[image.path]

    def compared(self, image: LabelledImage, others: Sequence[LabelledImage]) -> Scene:
        """An image with others as its references; what two pictures gave before is not worked out again."""
        scan, references = self.scan(image), tuple(self.scan(other) for other in others)
        if not references:
            return Scene(image, scan, (), ())
        shown, *before = (
            replace(whole, scan_id=self._content_of(one.path, whole))
            for one, whole in zip((image, *others), (scan, *references), strict=True)
        )
        return Scene(image, scan, references, tuple(self._before.register(shown, before)))

    def _content_of(self, path: Path, scan: ScanImage) -> str:
        """Hex digest of its pixels."""
        if path not in self._content:
            pixels = np.ascontiguousarray(scan.levels[0].read(0, scan.height, 0, scan.width))
            digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=20)
            digest.update(pixels.data)
            self._content[path] = digest.hexdigest()
        return self._content[path]
