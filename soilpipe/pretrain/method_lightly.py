"""The parts of lightly (MIT) that pretraining is put together from, imported beside whatever torchvision is there."""

from __future__ import annotations

from soilpipe.detect.torchvision_here import import_torchvision

import_torchvision()

from lightly import __version__ as lightly_version  # noqa: E402
from lightly.models.modules.heads import DenseCLProjectionHead  # noqa: E402
from lightly.models.modules.memory_bank import MemoryBankModule  # noqa: E402
from lightly.models.utils import select_most_similar, update_momentum  # noqa: E402
from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule  # noqa: E402

__all__ = [
    "DenseCLProjectionHead",
    "MemoryBankModule",
    "cosine_schedule",
    "cosine_warmup_schedule",
    "lightly_version",
    "select_most_similar",
    "update_momentum",
]
