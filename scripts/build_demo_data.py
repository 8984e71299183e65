#!/usr/bin/env python3
"""Writes a small data set with labels, to try score, calibrate, evaluate and the report.

It holds crops of scikit-image's photos, some flipped, darkened or blurred; one photo shows a cat. Measures of it say
nothing about a classifier.
"""

import argparse
import json
import random
from pathlib import Path

import skimage
from PIL import Image, ImageEnhance, ImageFilter

from scripts.arguments import whole

PHOTOS = Path(skimage.__file__).parent / "data"
CAT = ["tabby", "tiger cat", "Egyptian cat"]
LABELS = {
    "chelsea.png": CAT,
    "coffee.png": [],
    "rocket.jpg": [],
    "astronaut.png": [],
    "camera.png": [],
    "motorcycle_left.png": [],
}
CROPS = {"chelsea.png": 40}  # of a photo
OTHER_CROPS = 8  # of each of the others


def write_data(directory: Path, seed: int = 0, times: int = 1) -> Path:
    """Fills `directory` with images and the list of them, labels.jsonl, and returns the path of the list.

    times: as many crops as there are without it.
    """
    rng = random.Random(seed)  # noqa: S311  (pictures)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for name, labels in LABELS.items():
        if not (PHOTOS / name).exists():  # not every version of the package has all of them
            continue
        with Image.open(PHOTOS / name) as photo:
            whole = photo.convert("RGB")
        for number in range(times * CROPS.get(name, OTHER_CROPS)):
            path = Path("images") / f"{Path(name).stem}-{number:02d}.jpg"
            _crop(whole, rng).save(directory / path, quality=85)
            lines.append(json.dumps({"path": str(path), "labels": labels}))
    target = directory / "labels.jsonl"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _crop(photo: Image.Image, rng: random.Random) -> Image.Image:
    """A random part, at least a third of each side, altered at random."""
    width, height = (int(side * rng.uniform(0.33, 1)) for side in photo.size)
    left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    part = photo.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    part = ImageEnhance.Brightness(part).enhance(rng.uniform(0.4, 1.3))
    return part.filter(ImageFilter.GaussianBlur(rng.choice([0, 0, 1, 3])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/demo/data"), help="default: %(default)s")
    parser.add_argument("--times", type=whole(1), default=1, help="so many times 80 crops (default: %(default)s)")
    options = parser.parse_args()
    print(f"wrote    {write_data(options.output, times=options.times)}")


if __name__ == "__main__":
    main()
