"""Find the class of each pixel with the model in this folder.

    python segment.py photo.jpg other.png      segment once, print results to standard output
    python segment.py photo.jpg -o overlays    save photo.jpg.png there, with the classes in color
    python segment.py photo.jpg --masks masks  save photo.jpg.png there, with the class numbers
    python segment.py --watch inbox            watch a folder and segment its images, until stopped

Prints one line of JSON per image: {"image": …, "areas": {label: fraction of the image, …}}.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image

from keras_dlcourse.edge import ImageSegmenter, draw_segmentation
from keras_dlcourse.edge.commands.inbox import watch_folder

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Segment the images given on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    parser.add_argument("--masks", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("pass either images or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"folder {arguments.watch} does not exist")
    if len({path.name for path in arguments.images}) < len(arguments.images):
        parser.error("the images must have different names, as their pictures do")
    folders = [folder for folder in (arguments.output, arguments.masks) if folder]
    if arguments.watch and arguments.watch.resolve() in [folder.resolve() for folder in folders]:
        parser.error("pictures must be saved outside of the watched folder")

    segmenter = ImageSegmenter(
        HERE / "model.tflite", threads=arguments.threads, output_confidence_masks=False
    )
    print(f"model.tflite on {segmenter.runtime}", file=sys.stderr, flush=True)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in watch_folder(arguments.watch) if arguments.watch else arguments.images:
        try:
            found = segmenter.segment(path)
            if arguments.output:
                draw_segmentation(path, found).save(arguments.output / f"{path.name}.png")
            if arguments.masks:
                mask = Image.fromarray(found.category_mask)
                mask.save(arguments.masks / f"{path.name}.png")
        except (OSError, ValueError) as error:  # one bad image must not stop a service
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        areas = {label: round(area, 4) for label, area in found.areas.items()}
        print(json.dumps({"image": str(path), "areas": areas}, ensure_ascii=False), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
