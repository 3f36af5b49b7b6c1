"""What `--backbone` of `soilpipe train detector` stands for: a path, or an encoder of the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.commands.options import OptionError

if TYPE_CHECKING:
    from soilpipe.store import Store

CHAMPION = "champion"


@dataclass(frozen=True)
class Given:
    """`path`: a file, or the folder of an encoder. Of an encoder of the store `size` of its network, None where that is
    none of the named ones, and `told`, in words which one it is."""

    path: Path | None = None
    size: str | None = None
    told: str = ""


def backbone_of(store: Store, wanted: str | None) -> Given:
    """`champion`: the encoder in use. Else a path that is there; else an encoder by version, first digits or name.

    OptionError where it is none of them, ModelError where no encoder is in use.
    """
    from soilpipe import models

    if wanted is None:
        return Given()
    if wanted == CHAMPION:
        version = models.champion(store, "encoder")
    elif Path(wanted).exists():
        return Given(Path(wanted))
    else:
        try:
            version = models.resolve(store, "encoder", wanted)
        except models.ModelError as error:
            raise OptionError(f"--backbone {wanted}: there is no such file or folder, and {error}") from error
    card = models.card_of(store, "encoder", version)
    told = f"Its backbone begins as the encoder {card.get('name', version)} ({version})."
    return Given(models.model_path(store, "encoder", version), card.get("size"), told)
