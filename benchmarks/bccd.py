"""A real set of several classes: blood cells, to check that training works (nothing here is about soil).

    python benchmarks/bccd.py --data FOLDER [--seeds 0,1,2] [--steps 1900] [--second-steps 1200] [--folder build/bccd]
                              [--json FILE]

FOLDER is the real data's folder (the one that holds `bccd/`): 364 photographs of 640 x 480 px, three classes, 4,886
boxes. For each seed 72 random photographs are for the test, 36 others choose the thresholds (and the weights, by looks
on the way), the rest are trained on. Trained detectors are kept in the folder and not trained again; one that was
trained with other settings than are asked for stops the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_settings import kept_card, um_per_px_at

from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.sizes import MEDIUM
from soilpipe.detect.starting import Start
from soilpipe.detect.training import train_detector
from soilpipe.detect.weights import load_detector

TEST, VALIDATION = 72, 36
AP50_TARGET, BIAS_TARGET = 0.91, 0.10


def one_seed(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, unless that was done before, and judge on one draw of the test images. `seconds` are the training's."""
    source = arguments.data / "bccd"
    names = sorted(image["file_name"] for image in json.loads((source / "annotations.json").read_text())["images"])
    order = np.random.default_rng(seed).permutation(len(names))
    test = {names[index] for index in order[:TEST]}
    validation = [names[index] for index in order[TEST : TEST + VALIDATION]]
    out = arguments.folder / f"seed{seed}"
    recipe = Start().recipe(
        steps=arguments.steps,
        batch=arguments.batch,
        seed=seed,
        check_every=arguments.steps // 8,
        second_steps=arguments.second_steps,
    )
    taken = f"all but {TEST} random ones, seed {seed}"

    def learned_from(image: LabelledImage) -> bool:
        return image.file_name not in test

    given = only(read_labels(source / "annotations.json", source / "images"), learned_from)
    um_per_px = um_per_px_at(given, arguments.scale)
    card = kept_card(out, recipe, labels_taken=taken, um_per_px=um_per_px, size=MEDIUM)
    trained_before = card is not None
    if card is None:
        card = train_detector(
            source / "annotations.json",
            source / "images",
            out,
            scale=arguments.scale,
            difference=False,
            where=learned_from,
            where_told=taken,
            val_images=validation,
            recipe=recipe,
        )
    judged = evaluate_detector(
        load_detector(out),
        source / "annotations.json",
        source / "images",
        where=lambda image: image.file_name in test,
        difference=False,
    )
    classes = {
        taxon: {
            "animals": figures.animals,
            "ap50": figures.precisions.ap50,
            "ap": figures.precisions.ap,
            "bias": figures.counts.bias,
        }
        for taxon, figures in judged.by_taxon.items()
    }
    return {
        "seed": seed,
        "seconds": card["seconds"],
        "trained_before": trained_before,
        "ap50": judged.mean_of_taxa.ap50,
        "ap": judged.mean_of_taxa.ap,
        "classes": classes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds bccd/")
    parser.add_argument("--folder", type=Path, default=Path("build/bccd"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=1900)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--second-steps", type=int, default=0, help="of a second stage; 0: none")
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in (int(word) for word in arguments.seeds.split(",")):
        rows.append(one_seed(seed, arguments))
        told = "  ".join(
            f"{taxon} {one['ap50']:.3f} (count {one['bias']:+.0%})" for taxon, one in rows[-1]["classes"].items()
        )
        print(
            f"seed {seed}: mAP50 {rows[-1]['ap50']:.3f}  AP {rows[-1]['ap']:.3f}  {told}",
            f" [trained in {rows[-1]['seconds']:.0f} s{', before' if rows[-1]['trained_before'] else ''}]",
            flush=True,
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    values = [row["ap50"] for row in rows]
    biases = [abs(one["bias"]) for row in rows for one in row["classes"].values()]
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    met = "met" if statistics.mean(values) >= AP50_TARGET else "MISSED"
    print(
        f"mAP50 {statistics.mean(values):.3f}{spread}: {met}; largest count bias of a class {max(biases):.0%}: "
        f"{'met' if max(biases) <= BIAS_TARGET else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
