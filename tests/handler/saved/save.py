# ruff: noqa
# mypy: ignore-errors
"""Saves pipelines as the installed version of albumentations does, with samples of the pixels that it gives.

    python save.py > VERSION.json

in an environment of its own, with torch: the versions differ too much to be installed side by side. It runs under each
version from 1.0 on, and under AlbumentationsX; a pipeline that a version can't make is left out.
"""

import json
import os
import sys
import tempfile
import warnings

import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
warnings.simplefilter("ignore")
import albumentations as A
import cv2
from albumentations.pytorch import ToTensorV2

SHAPES = ((60, 81), (150, 97), (40, 40))  # (height, width) of the photos
SAMPLES = 24  # of the values that come out, at random places


def photo(height, width):
    """Noise: any other interpolation or place gives other values. [height, width, 3] uint8."""
    return np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)


def pad(height, width, value=None, **options):
    """The filling by its names in 1 and in 2."""
    given = {} if value is None else {"border_mode": cv2.BORDER_CONSTANT}
    try:
        return A.PadIfNeeded(height, width, **given, **({} if value is None else {"value": value}), **options)
    except TypeError:
        return A.PadIfNeeded(height, width, **given, fill=value, **options)


def padded(height, width, value=None, **options):
    """1.4.22 to 1.4.24 warn of `value` and go on without it."""
    step = pad(height, width, value, **options)
    if value is not None and getattr(step, "fill", getattr(step, "value", None)) != value:
        step = A.PadIfNeeded(height, width, border_mode=cv2.BORDER_CONSTANT, fill=value, **options)
    return step


END = (A.Normalize(), ToTensorV2())
PIPELINES = {
    "resize": lambda: [A.Resize(32, 48), *END],
    "resize, cubic": lambda: [A.Resize(32, 48, interpolation=cv2.INTER_CUBIC), *END],
    "resize, area": lambda: [A.Resize(32, 48, interpolation=cv2.INTER_AREA), *END],
    "resize, nearest": lambda: [A.Resize(32, 48, interpolation=cv2.INTER_NEAREST), *END],
    "resize, lanczos": lambda: [A.Resize(32, 48, interpolation=cv2.INTER_LANCZOS4), *END],
    "shorter side and centre": lambda: [A.SmallestMaxSize(37), A.CenterCrop(32, 31), *END],
    "shorter side by area": lambda: [A.SmallestMaxSize(37, interpolation=cv2.INTER_AREA), A.CenterCrop(32, 32), *END],
    "letterbox": lambda: [A.LongestMaxSize(41), padded(41, 42, 114), *END],
    "letterbox, colour": lambda: [A.LongestMaxSize(41), padded(41, 42, (124, 116, 104)), *END],
    "letterbox, black": lambda: [A.LongestMaxSize(41), padded(41, 41, 0), *END],
    "letterbox, reflected": lambda: [A.LongestMaxSize(41), A.PadIfNeeded(41, 42), *END],
    "letterbox, border given alone": lambda: [
        A.LongestMaxSize(41),
        A.PadIfNeeded(41, 42, border_mode=cv2.BORDER_REPLICATE),
        *END,
    ],
    "letterbox, top left": lambda: [A.LongestMaxSize(41), padded(41, 42, 114, position="top_left"), *END],
    "pad to a divisor": lambda: [
        A.PadIfNeeded(None, None, pad_height_divisor=32, pad_width_divisor=32),
        A.Resize(32, 32),
        *END,
    ],
    "crop": lambda: [A.Resize(64, 64), A.Crop(3, 5, 35, 45), *END],
    "crop and pad": lambda: [A.Resize(32, 32), A.CropAndPad(px=4, keep_size=False), *END],
    "without a tensor": lambda: [A.Resize(32, 32), A.Normalize()],
    "mean of a half": lambda: [A.Resize(32, 32), A.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ToTensorV2()],
    "no mean": lambda: [A.Resize(32, 32), A.Normalize((0, 0, 0), (1, 1, 1), 255.0), ToTensorV2()],
    "one mean": lambda: [A.Resize(32, 32), A.Normalize(0.5, 0.25), ToTensorV2()],
    "to float": lambda: [A.Resize(32, 32), A.ToFloat(max_value=255), ToTensorV2()],
    "to float, then normalised": lambda: [
        A.Resize(32, 32),
        A.ToFloat(),
        A.Normalize(max_pixel_value=1.0),
        ToTensorV2(),
    ],
    "by each image": lambda: [A.Resize(32, 32), A.Normalize(normalization="image"), ToTensorV2()],
    "always applied": lambda: [A.Resize(32, 32, always_apply=True, p=0.5), *END],
    "flipped": lambda: [A.Resize(32, 48), A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1), *END],
    "grey": lambda: [A.Resize(32, 32), A.ToGray(p=1), *END],
    "equalised": lambda: [A.Resize(32, 32), A.Equalize(p=1), *END],
    "inverted": lambda: [A.Resize(32, 32), A.InvertImg(p=1), *END],
    "sepia": lambda: [A.Resize(32, 32), A.ToSepia(p=1), *END],
    "CLAHE": lambda: [A.Resize(32, 32), A.CLAHE(clip_limit=(2, 2), p=1), *END],
    "blurred": lambda: [A.Resize(32, 32), A.Blur(blur_limit=(3, 3), p=1), *END],
    "solarised": lambda: [A.Resize(32, 32), A.Solarize(threshold=(128, 128), p=1), *END],
    "quarter turn": lambda: [A.Resize(32, 32), A.Rotate((90, 90), p=1), *END],
    "compressed": lambda: [A.Resize(32, 32), A.ImageCompression(90, 90, p=1), *END],
    "nothing": lambda: [A.NoOp(p=1), A.Resize(32, 32), *END],
    "choice of one": lambda: [A.OneOf([A.Resize(32, 32, p=1)], p=1), *END],
    "sequence": lambda: [A.Sequential([A.Resize(32, 32), A.CenterCrop(30, 30)], p=1), *END],
    "nested": lambda: [A.Compose([A.Resize(32, 32), A.CenterCrop(30, 30)]), *END],
}
WHOLE = {
    "replayed": lambda: A.ReplayCompose([A.Resize(32, 32), *END]),
    "with boxes": lambda: A.Compose([A.Resize(32, 32), *END], bbox_params=A.BboxParams("pascal_voc", ["classes"])),
    "with points": lambda: A.Compose([A.Resize(32, 32), *END], keypoint_params=A.KeypointParams("xy")),
    "with targets": lambda: A.Compose([A.Resize(32, 32), *END], additional_targets={"second": "image"}),
    "single": lambda: A.Normalize(),
}


def saved(pipeline, form):
    """What `A.save` writes, or the name of the error that it raises."""
    path = os.path.join(tempfile.mkdtemp(), "pipeline")
    try:
        A.save(pipeline, path, data_format=form)
    except Exception as error:  # a version may not be able to save what it makes
        return None, type(error).__name__
    with open(path) as file:
        return file.read(), None


def samples(pipeline):
    """For each photo: the shape that comes out, some values, and a sum that any other pixel changes."""
    rows = []
    for height, width in SHAPES:
        image = pipeline(image=photo(height, width))["image"]
        values = np.asarray(image, np.float64)
        values = values.transpose(2, 0, 1) if isinstance(image, np.ndarray) else values
        random = np.random.RandomState(0)
        places = random.randint(0, values.size, SAMPLES)
        weights = random.uniform(-1, 1, values.size)
        row = [round(float(value), 4) for value in values.ravel()[places]]
        rows.append({"shape": list(values.shape), "values": row, "sum": round(float(weights @ values.ravel()), 2)})
    return rows


def main():
    made = {name: (lambda steps=steps: A.Compose(steps())) for name, steps in PIPELINES.items()}
    pipelines = {}
    for name, make in [*made.items(), *WHOLE.items()]:
        try:
            pipeline = make()
            entry = {"pixels": samples(pipeline)}
        except Exception as error:  # of another version's words
            sys.stderr.write("%s: %s\n" % (name, str(error)[:100]))
            continue
        text, entry["unsaved"] = saved(pipeline, "json")
        entry["json"] = None if text is None else json.loads(text)
        if name.startswith(("letterbox", "replayed")):
            entry["yaml"], _ = saved(pipeline, "yaml")
        pipelines[name] = {key: value for key, value in entry.items() if value is not None}
    lines = ["%s: %s" % (json.dumps(name), json.dumps(entry)) for name, entry in pipelines.items()]
    print('{"version": "%s", "pipelines": {\n%s\n}}' % (A.__version__, ",\n".join(lines)))


if __name__ == "__main__":
    main()
