"""A classifier on disk: weights.safetensors and card.json in one folder, nothing that can run code.

The labelled crops that it answers by are part of the weights: their embeddings, where each is from (as JSON in bytes)
and a small picture of each, so that an answer can be explained when the scans have long expired. Weights and card
together are the version: the first 12 hex digits of the SHA-256 over both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as tensor_bytes

from soilpipe.classify.calibration import Calibration
from soilpipe.classify.classifier import Classifier
from soilpipe.classify.examples import ClassifierError, Examples, Source
from soilpipe.classify.head import Head
from soilpipe.classify.space import Space
from soilpipe.detect.model_files import (
    CARD,
    WEIGHTS,
    card_bytes,
    parse_card,
    parse_tensors,
    read_bytes,
    version_of,
)

A_CLASSIFIER = "A classifier"
FORMAT = 1
NEEDED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "format": int,
    "taxa": list,
    "classes": list,
    "lineages": dict,
    "encoder": str,
    "alpha": (int, float),
    "threshold": (int, float),
    "limit": (int, float),
    "calibration": dict,
    "validation": str,
}


def save_classifier(folder: Path | str, classifier: Classifier, card: Mapping[str, Any]) -> str:
    """Write both files into `folder` (made when absent); returns the version.

    The card's entries that decide answers (classes, thresholds, calibration) are taken from the classifier. Same
    classifier and card, same bytes.
    """
    folder = Path(folder)
    calibration = classifier.calibration
    complete = {key: value for key, value in card.items() if key != "version"} | {
        "format": FORMAT,
        "classes": list(classifier.classes),
        "lineages": {taxon: list(above) for taxon, above in classifier.lineages.items()},
        "taxa": [taxon for taxon in classifier.classes if not classifier.is_background(taxon)],
        "threshold": classifier.threshold,
        "limit": classifier.limit,
        "calibration": {
            "mixture": dict(zip(("head", "prototypes", "neighbours"), calibration.mixture, strict=True)),
            "steepness": calibration.steepness,
            "temperature": calibration.temperature,
            "crops": calibration.crops,
        },
    }
    _check_card(complete, folder / CARD)
    weights, text = tensor_bytes(_tensors_of(classifier)), card_bytes(complete)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_bytes(text)
    return version_of(weights, text)


def load_classifier(folder: Path | str) -> Classifier:
    """The classifier in `folder`. ClassifierError when a file is missing, broken, foreign, or does not fit its card."""
    folder = Path(folder)
    text = read_bytes(folder / CARD, ClassifierError, A_CLASSIFIER)
    weights = read_bytes(folder / WEIGHTS, ClassifierError, A_CLASSIFIER)
    card = parse_card(text, folder / CARD, ClassifierError)
    _check_card(card, folder / CARD)
    tensors = {key: one.numpy() for key, one in parse_tensors(weights, folder / WEIGHTS, ClassifierError).items()}
    try:
        classifier = _classifier_of(tensors, card)
    except (KeyError, ValueError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ClassifierError(
            f"{folder / WEIGHTS}: does not fit its card ({type(error).__name__}: {error}). Weights and card must come "
            "from the same training"
        ) from error
    return replace(classifier, card={**card, "version": version_of(weights, text)})


def _tensors_of(classifier: Classifier) -> dict[str, np.ndarray]:
    examples, head, space = classifier.examples, classifier.head, classifier.space
    index = {taxon: label for label, taxon in enumerate(classifier.classes)}
    told = json.dumps([asdict(source) for source in examples.sources], ensure_ascii=False).encode()
    return {
        "space.mean": space.mean,
        "space.scale": space.scale,
        "space.whiten": np.ascontiguousarray(space.whiten),
        "head.weight": head.weight,
        "head.bias": head.bias,
        "head.known": head.known.astype(np.uint8),
        "frequencies": classifier.calibration.frequencies,
        "unknown_limits": classifier.unknown_limits,
        "examples.embeddings": np.ascontiguousarray(examples.embeddings, np.float32),
        "examples.sizes_mm": examples.sizes_mm.astype(np.float32),
        "examples.labels": np.array([index[taxon] for taxon in examples.taxa], np.int64),
        "examples.sources": np.frombuffer(told, np.uint8),
        "examples.thumbnails": np.frombuffer(b"".join(examples.thumbnails), np.uint8),
        "examples.thumbnail_ends": np.cumsum([len(one) for one in examples.thumbnails], dtype=np.int64),
    }


def _classifier_of(tensors: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> Classifier:
    lineages = {taxon: tuple(card["lineages"][taxon]) for taxon in card["classes"]}
    names, n = tuple(lineages), len(lineages)
    space = Space(tensors["space.mean"], tensors["space.scale"], tensors["space.whiten"])
    k = len(space.mean)
    shapes = {
        "space.mean": (k,), "space.scale": (k,), "space.whiten": (k, k),
        "head.weight": (n, k), "head.bias": (n,), "head.known": (n,), "frequencies": (n,), "unknown_limits": (n,),
        "examples.embeddings": (len(tensors["examples.labels"]), k - 1),
    }  # fmt: skip
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} is {tensors[name].shape}, not {shape}")
    broken = [name for name, one in tensors.items() if one.dtype.kind == "f" and not np.isfinite(one).all()]
    if broken:
        raise ValueError(f"{broken[0]} holds values that are not finite")
    told = card["calibration"]
    mixture = told["mixture"]
    return Classifier(
        lineages=lineages,
        space=space,
        head=Head(tensors["head.weight"], tensors["head.bias"], tensors["head.known"].astype(bool)),
        calibration=Calibration(
            (mixture["head"], mixture["prototypes"], mixture["neighbours"]),
            float(told["steepness"]),
            tensors["frequencies"],
            float(told["temperature"]),
            int(told["crops"]),
        ),
        threshold=float(card["threshold"]),
        limit=float(card["limit"]),
        unknown_limits=tensors["unknown_limits"],
        examples=_examples_of(tensors, names),
        card=card,
    )


def _examples_of(tensors: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Examples:
    labels = tensors["examples.labels"]
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        raise ValueError(f"examples.labels point beyond the {len(names)} classes")
    sources = json.loads(tensors["examples.sources"].tobytes())
    pictures, ends = tensors["examples.thumbnails"].tobytes(), tensors["examples.thumbnail_ends"].tolist()
    starts = [0, *ends[:-1]]
    return Examples(
        embeddings=tensors["examples.embeddings"],
        sizes_mm=tensors["examples.sizes_mm"],
        taxa=tuple(names[label] for label in labels.tolist()),
        sources=tuple(Source(**{**source, "box": tuple(source["box"])}) for source in sources),
        thumbnails=tuple(pictures[a:b] for a, b in zip(starts, ends, strict=True)) if ends else (),
    )


def _check_card(card: Any, path: Path) -> None:
    if not isinstance(card, dict):
        raise ClassifierError(f"{path}: a card is a JSON object, not a {type(card).__name__}")
    problems = [
        f"`{key}` is missing" if key not in card else f"`{key}` = {card[key]!r}"
        for key, kind in NEEDED.items()
        if not isinstance(card.get(key), kind) or isinstance(card.get(key), bool)
    ]
    if not problems and card["format"] > FORMAT:
        problems.append(f"`format` = {card['format']}: it is of a later release")
    if not problems and len(card["classes"]) < 2:
        problems.append(f"`classes` = {card['classes']!r} (expected two or more)")
    if problems:
        raise ClassifierError(f"{path}: not the card of a classifier: {'; '.join(problems)}")
