"""The labelling loop as a new user goes through it, with Sticky-Pi's boxes as the person who labels.

    python benchmarks/labelling.py --data FOLDER [--steps 2500] [--folder build/labelling]

FOLDER is the real data's folder (the one that holds `stickypi/`). Five devices are the project, two (`5c173ff2` and
`afbd6f68`, one annotated photograph each) are never labelled from and judge every round. All goes by the command line:

    week one   the earlier photographs of each device come in and are looked at by the shipped detector, which has never
               seen such: `run`, `label draw` (suggestions are worth little yet), `label export`
               the person marks what the annotations have in each tile, `label import`, `train detector`
    week two   the first detector is promoted, the later photographs come in and are detected by it: `run`
               `label draw` (now half at random, half suggested from those detections), and so on: second detector

Only annotated photographs come in, since the person knows no others. Promotion is by force, with a reason: so few
tiles leave the hold-out too small for the gate, which the last lines show. Of the tiles labelled, training takes those
that are not of the hold-out (one device whole, and the last fifth of each other's time). The photographs state no
resolution; 1200 dpi stands in for it, so that lengths in mm mean nothing here. Small insects and debris are partly
unlabelled in this data, which limits precision.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from stickypi import HELD_OUT, TRAINING, labels_with_scanners, project_file, soilpipe

PERSON = "Sticky-Pi annotators"
SEEN_SHARE = 0.3  # of an animal that the edge of a tile cuts: with less of it in the tile, a person would not mark it
FIGURES = ("ap50", "precision", "recall", "f1", "centre_f1", "count_error_relative")


class Person:
    """Who labels: marks in each tile what the annotations have there, and says of every tile to have looked at it."""

    def __init__(self, annotations: Path) -> None:
        told = json.loads(annotations.read_text())
        of_image = {image["id"]: [] for image in told["images"]}
        for annotation in told["annotations"]:
            of_image[annotation["image_id"]].append(annotation["bbox"])
        self._boxes = {
            (image["device"], datetime.strptime(image["datetime"], "%Y-%m-%d_%H-%M-%S")): of_image[image["id"]]  # noqa: DTZ007
            for image in told["images"]
            if image["labelled"]
        }

    def answer(self, exported: Path) -> tuple[int, int]:
        """Fill in an exported COCO file in place; tiles, and boxes marked in them."""
        file = json.loads(exported.read_text())
        insect = next(category["id"] for category in file["categories"] if category["name"] == "Insecta")
        annotations: list[dict[str, Any]] = []
        for image in file["images"]:
            scan, x0, y0, _ = image["file_name"].removesuffix(".png").rsplit("-", 3)
            device, moment, _ = scan.rsplit("-", 2)
            left, top = int(x0[1:]), int(y0[1:])
            image |= {"looked_at": True, "labelled_by": PERSON}
            for box in self._boxes[device, datetime.strptime(moment, "%Y%m%dT%H%M%S")]:  # noqa: DTZ007
                cut = in_window(box, left, top, image["width"], image["height"])
                if cut is not None:
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": image["id"],
                            "category_id": insect,
                            "bbox": cut,
                            "iscrowd": 0,
                        }
                    )
        file["annotations"] = annotations
        exported.write_text(json.dumps(file))
        return len(file["images"]), len(annotations)


def in_window(box: list[float], left: int, top: int, width: int, height: int) -> list[float] | None:
    """A box, x y width height, as a tile shows it; None where too little of it lies inside."""
    x0, y0 = max(box[0] - left, 0.0), max(box[1] - top, 0.0)
    x1, y1 = min(box[0] + box[2] - left, float(width)), min(box[1] + box[3] - top, float(height))
    if x1 <= x0 or y1 <= y0 or (x1 - x0) * (y1 - y0) < SEEN_SHARE * box[2] * box[3]:
        return None
    return [x0, y0, x1 - x0, y1 - y0]


def arrive(source: Path, inbox: Path, week: int) -> int:
    """Copy the annotated photographs of a week: of each device the earlier half in week one, the later in week two."""
    images = [image for image in json.loads((source / "annotations.json").read_text())["images"] if image["labelled"]]
    come = 0
    for device in TRAINING:
        names = sorted(image["file_name"] for image in images if image["device"] == device)
        half = (len(names) + 1) // 2
        for name in names[:half] if week == 1 else names[half:]:
            shutil.copy2(source / "images" / name, inbox / name)
            come += 1
    return come


def label(folder: Path, person: Person, number: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Draw, export, mark and import one round of tiles."""
    words = ["label", "draw", "--tiles", str(arguments.tiles), "--size", str(arguments.size), "--seed", str(number)]
    print(soilpipe(folder, *words))
    draw = json.loads(soilpipe(folder, *words, "--json"))["draw"]
    tiles = folder / f"tiles-{number}"
    shutil.rmtree(tiles, ignore_errors=True)
    soilpipe(folder, "label", "export", "--draw", draw["draw_id"][:8], "--format", "coco", "--output", str(tiles))
    count, boxes = person.answer(tiles / "annotations.json")
    print(soilpipe(folder, "label", "import", str(tiles / "annotations.json")))
    random = sum(tile["how"] == "random" for tile in draw["tiles"])
    return {"tiles": count, "random": random, "suggested": count - random, "boxes": boxes}


def train(folder: Path, number: int, arguments: argparse.Namespace) -> str:
    """A detector from all labels of the project, fresh; its version."""
    words = ["--name", f"round-{number}", "--single-class", "--scale", "0.5", "--from", arguments.begin_from]
    told = soilpipe(folder, "train", "detector", *words, "--steps", str(arguments.steps), "--json")
    return str(json.loads(told)["version"])


def judge(folder: Path, source: Path, version: str) -> dict[str, Any]:
    """Figures on the photographs of the two devices that were never labelled from."""
    words = ["--labels", "held_out.json", "--images", str(source / "images"), "--version", version]
    told = json.loads(soilpipe(folder, "evaluate", "detector", *words, "--json"))
    return {key: told["any_taxon"]["ap50"] if key == "ap50" else told[key] for key in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds stickypi/")
    parser.add_argument("--folder", type=Path, default=Path("build/labelling"), help="where the project goes, anew")
    parser.add_argument("--steps", type=int, default=2500, help="of each training")
    parser.add_argument("--tiles", type=int, default=50, help="in each of the two rounds")
    parser.add_argument("--size", type=int, default=648, help="greatest side of a tile, px: twelve tiles a photograph")
    parser.add_argument("--begin-from", default="none", help="as `train detector --from`: none, shipped, champion")
    arguments = parser.parse_args()
    source, folder = arguments.data.resolve() / "stickypi", arguments.folder.resolve()
    if folder.exists() and not (folder / "soilpipe.yaml").exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds something else; name another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    inbox = folder / "inbox"
    inbox.mkdir(parents=True)
    (folder / "soilpipe.yaml").write_text(project_file(inbox))
    everything = labels_with_scanners(source / "annotations.json")
    held = [image for image in everything["images"] if image["device"] in HELD_OUT]
    ids = {image["id"] for image in held}
    kept = [annotation for annotation in everything["annotations"] if annotation["image_id"] in ids]
    (folder / "held_out.json").write_text(json.dumps({**everything, "images": held, "annotations": kept}))
    person = Person(source / "annotations.json")
    began, rounds = time.monotonic(), []
    for number in (1, 2):
        print(f"\nweek {number}: {arrive(source, inbox, number)} photographs come in", flush=True)
        print(soilpipe(folder, "run"))
        told = label(folder, person, number, arguments)
        version = train(folder, number, arguments)
        rounds.append({"round": number, "version": version, **told, **judge(folder, source, version)})
        if number == 1:
            reason = "the first detector of this project"
            print(soilpipe(folder, "models", "promote", version, "--force", "--reason", reason))
    print(soilpipe(folder, "label", "status"))
    for one in rounds:
        print(f"{one['version']} on the project's own random tiles:")
        print(soilpipe(folder, "evaluate", "detector", "--version", one["version"]))
    last = rounds[-1]["version"]
    asked = [str(Path(sys.executable).with_name("soilpipe")), "models", "promote", last]
    answer = subprocess.run(asked, cwd=folder, capture_output=True, text=True)
    print(f"$ soilpipe models promote {last}   [exit {answer.returncode}]\n{answer.stdout}{answer.stderr}")
    (folder / "rounds.json").write_text(json.dumps(rounds, indent=1) + "\n")
    print(f"\nOn {len(held)} photographs of devices never labelled from, {len(kept)} boxes:")
    print(
        "round  tiles labelled  boxes   " + "  ".join(f"{name:>10s}" for name in ("AP50", *FIGURES[1:5], "count err."))
    )
    tiles = boxes = 0
    for one in rounds:
        tiles, boxes = tiles + one["tiles"], boxes + one["boxes"]
        print(f"{one['round']:5d}  {tiles:14d}  {boxes:5d}   " + "  ".join(f"{one[key]:10.3f}" for key in FIGURES))
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
