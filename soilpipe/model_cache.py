"""Local copies of models that a remote store holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from soilpipe.store import Store
from soilpipe.user_cache import cache_folder

WEIGHTS, CARD = "weights.safetensors", "card.json"


def cached(store: Store, key: str, role: str, version: str, is_it: Callable[[Path], bool]) -> Path:
    """A local folder with the model at `key`, copied once into the user's cache. `is_it` tells a good copy."""
    folder = cache_folder("models") / role / version

    def whole() -> bool:
        return (folder / CARD).is_file() and (folder / WEIGHTS).is_file() and is_it(folder)

    if not whole():
        _download(store, key, folder, whole)
    return folder


def _download(store: Store, key: str, folder: Path, whole: Callable[[], bool]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        for name in (WEIGHTS, CARD):
            (unfinished / name).write_bytes(store.read_bytes(f"{key}/{name}"))
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    except OSError:
        if not whole():  # else another process was faster, with the same content
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
