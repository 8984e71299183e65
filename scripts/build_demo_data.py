#!/usr/bin/env python3
"""Writes a small data set with labels, to walk through score, calibrate, evaluate and the report.

Cuts of scikit-image's photos, some flipped, darker or blurred: one cat and no others. It shows the way; what is
measured on it says nothing of a classifier.
"""

import argparse
import json
import random
from pathlib import Path

import skimage
from PIL import Image, ImageEnhance, ImageFilter

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
CUTS = {"chelsea.png": 40}  # of each photo
OTHERWISE = 8


def write_data(directory: Path, seed: int = 0) -> Path:
    """Returns the list, labels.jsonl."""
    rng = random.Random(seed)  # noqa: S311  (pictures)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for name, labels in LABELS.items():
        if not (PHOTOS / name).exists():  # some come with other versions of the package
            continue
        with Image.open(PHOTOS / name) as photo:
            whole = photo.convert("RGB")
        for number in range(CUTS.get(name, OTHERWISE)):
            path = Path("images") / f"{Path(name).stem}-{number:02d}.jpg"
            _cut(whole, rng).save(directory / path, quality=85)
            lines.append(json.dumps({"path": str(path), "labels": labels}))
    target = directory / "labels.jsonl"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _cut(photo: Image.Image, rng: random.Random) -> Image.Image:
    """A part of it, at least a third of each side."""
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
    print(f"wrote    {write_data(parser.parse_args().output)}")


if __name__ == "__main__":
    main()
