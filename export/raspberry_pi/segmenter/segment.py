"""Find the class of each pixel with the model in this folder.

    python segment.py photo.jpg other.png      segment once, print results to standard output
    python segment.py photo.jpg -o overlays    save photo.jpg.png there, with the classes in color
    python segment.py photo.jpg --masks masks  save photo.jpg.png there, with the class numbers
    python segment.py --watch inbox            watch a folder and segment its images, until stopped

Prints one line of JSON per image: {"image": …, "areas": {label: fraction of the image, …}}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from keras_dlcourse.edge import ImageSegmenter, draw_segmentation
from keras_dlcourse.edge.commands.inbox import answer_images, image_parser, parse_images

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Segment the images given on the command line and return the exit code."""
    parser = image_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    parser.add_argument("--masks", type=Path, metavar="FOLDER")
    arguments = parse_images(parser, pictures=["output", "masks"])

    segmenter = ImageSegmenter(
        HERE / "model.tflite", threads=arguments.threads, output_confidence_masks=False
    )
    print(f"model.tflite on {segmenter.runtime}", file=sys.stderr, flush=True)
    for folder in filter(None, (arguments.output, arguments.masks)):
        folder.mkdir(parents=True, exist_ok=True)

    def answer(path: Path) -> dict[str, object]:
        found = segmenter.segment(path)
        if arguments.output:
            draw_segmentation(path, found).save(arguments.output / f"{path.name}.png")
        if arguments.masks:
            mask = Image.fromarray(found.category_mask)
            mask.save(arguments.masks / f"{path.name}.png")
        return {"areas": {label: round(area, 4) for label, area in found.areas.items()}}

    return answer_images(arguments, answer)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
