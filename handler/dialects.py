"""Pipelines that other versions of albumentations saved, in the words of the one here, for the same pixels.

tests/handler/saved has files that real versions wrote, of 1.0 to 2.0 and AlbumentationsX, with samples of their pixels.
What a file does not tell is refused by name.
"""

import re
from collections.abc import Mapping
from typing import Any

from handler.errors import LoadError

OWN = "2.0."  # the versions whose files need no proof
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
RENAMED = {
    "PadIfNeeded": {"value": "fill"},
    "CenterCrop": {"pad_mode": "border_mode", "pad_cval": "fill"},
    "Crop": {"pad_mode": "border_mode", "pad_cval": "fill"},
}
# Arguments that say nothing of an image's pixels, in any version.
SILENT = {
    *("mask_value", "fill_mask", "mask_interpolation", "pad_cval_mask", "bbox_params", "keypoint_params"),
    *("additional_targets", "is_check_shapes", "strict", "seed", "save_applied_params", "save_key", "return_params"),
    *("semantic_mask_label_mappings", "instance_binding", "frame_binding", "telemetry"),
}
# Those of AlbumentationsX that change no pixels where they are null.
OFF = {"clip_range", "px_choices", "percent_choices"}
# With the same arguments the same pixels in every version whose files are in tests/handler/saved.
PROVEN = {
    *("Compose", "Sequential", "OneOf", "Resize", "SmallestMaxSize", "LongestMaxSize", "CenterCrop", "Crop"),
    *("PadIfNeeded", "Normalize", "ToFloat", "ToTensorV2", "HorizontalFlip", "VerticalFlip", "Transpose", "ToGray"),
    *("InvertImg", "ToSepia", "CLAHE", "Blur"),
}
# Before this version OpenCV got a number alone as the filling, which it takes for the first channel's: 114 is a red.
FIRST_OF_ONE_GREY = (1, 4, 12)


def as_of_today(serialized: Mapping[str, Any], source: object) -> dict[str, Any]:
    """What `albumentations.to_dict` would give here for the pipeline of a file, which it gave elsewhere.

    Raises LoadError for what the file does not tell, and for a transform that is not known to give the same pixels.
    """
    foreign = None
    if "__version__" in serialized and not str(serialized["__version__"]).startswith(OWN):
        foreign = str(serialized["__version__"])
        if VERSION.match(foreign) is None:
            raise LoadError(source, f"__version__: {foreign}, expected that of the albumentations that saved the file")
    return {**serialized, "transform": _translated(serialized["transform"], foreign, source)}


def _translated(step: Any, foreign: str | None, source: object) -> Any:
    if isinstance(step, list):
        # Doing nothing needs no proof, and it may have any probability.
        return [_translated(inner, foreign, source) for inner in step if not _is_nothing(inner)]
    if not isinstance(step, dict) or "__class_fullname__" not in step:
        return step
    name = str(step["__class_fullname__"])
    if name == "ReplayCompose":  # keeps what it did, and does what Compose does
        name = "Compose"
    renamed = RENAMED.get(name, {})
    today: dict[str, Any] = {"__class_fullname__": name}
    for key, value in step.items():
        if key in SILENT or (key in OFF and value is None) or key in ("__class_fullname__", "always_apply"):
            continue
        if key not in renamed:
            today[key] = _translated(value, foreign, source)
        elif value is not None:
            today.setdefault(renamed[key], _filling(value, foreign) if renamed[key] == "fill" else value)
    if step.get("always_apply"):
        today["p"] = 1
    if isinstance(today.get("max_size"), list) and len(today["max_size"]) == 1:
        [today["max_size"]] = today["max_size"]
    if foreign is not None:
        _check_proven(name, today, foreign, source)
    return today


def _filling(value: Any, version: str | None) -> Any:
    parts = VERSION.match(version) if version is not None else None
    early = parts is not None and tuple(map(int, parts.groups())) < FIRST_OF_ONE_GREY
    return [value, 0, 0] if early and isinstance(value, int | float) else value


def _is_nothing(step: Any) -> bool:
    return isinstance(step, dict) and step.get("__class_fullname__") == "NoOp"


def _check_proven(name: str, step: Mapping[str, Any], version: str, source: object) -> None:
    if name not in PROVEN:
        raise LoadError(
            source,
            f"transform: {name}: may have given other pixels in albumentations {version}, which saved it, than "
            f"here; expected some of {', '.join(sorted(PROVEN))}, or a file saved by 2.0.8",
        )
    if name == "PadIfNeeded" and "position" not in step:
        raise LoadError(
            source,
            f"transform: {name}: position: missing, as albumentations {version} does not save it; expected "
            "`position: center`, or where else training put the photo",
        )
