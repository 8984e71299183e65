"""Files that real versions of albumentations saved: saved/save.py made them, and samples of the pixels they gave."""

import importlib.util
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from handler.errors import LoadError
from handler.preprocess import make_pipeline

SAVED = Path(__file__).parent / "saved"
specification = importlib.util.spec_from_file_location("save", SAVED / "save.py")
assert specification is not None
assert specification.loader is not None
save = importlib.util.module_from_spec(specification)
specification.loader.exec_module(save)

FILES = {path.stem: json.loads(path.read_text())["pipelines"] for path in sorted(SAVED.glob("*.json"))}
CASES = [(version, name) for version, pipelines in FILES.items() for name in pipelines]
EARLY = ("1.0.3", "1.3.1")  # which do not save where PadIfNeeded puts the photo
NEWER = "x-2.5.1"
ELSEWHERE = "may have given other pixels in albumentations"
REFUSED = {
    "equalised": ELSEWHERE,
    "solarised": ELSEWHERE,
    "compressed": ELSEWHERE,
    "quarter turn": ELSEWHERE,
    "crop and pad": ELSEWHERE,
}


def _refusal(version: str, name: str) -> str | None:
    if name in REFUSED and version != "2.0.8":
        return REFUSED[name]
    if version in EARLY and name.startswith(("letterbox", "pad")):
        return "PadIfNeeded: position: missing, as albumentations .* does not save it; expected `position: center`"
    if version in ("2.0.8", NEWER) and name == "always applied":
        return "Resize: p: 0.5, expected 1"  # they do not know it, and apply it to every other photo
    if version == NEWER and name in ("CLAHE", "blurred"):
        return "unknown, expected an argument of"
    return None


def _check_pixels(serialized: Any, expected: Any) -> None:
    pipeline = make_pipeline(serialized, "here")
    for (height, width), row in zip(save.SHAPES, expected, strict=True):
        values = pipeline(save.photo(height, width)).numpy().astype(np.float64)
        random = np.random.RandomState(0)
        places, weights = random.randint(0, values.size, save.SAMPLES), random.uniform(-1, 1, values.size)
        assert list(values.shape) == row["shape"]
        # One step of one of 256 is 0.017, and the files hold four decimals.
        assert np.abs(values.ravel()[places] - row["values"]).max() < 2e-4
        assert abs(weights @ values.ravel() - row["sum"]) < 0.02


@pytest.mark.parametrize(("version", "name"), CASES)
def test_same_pixels_as_the_version_that_saved_it(version: str, name: str) -> None:
    entry = FILES[version][name]
    refusal = _refusal(version, name)
    for serialized in (entry["json"], *([yaml.safe_load(entry["yaml"])] if "yaml" in entry else [])):
        if refusal is None:
            _check_pixels(serialized, entry["pixels"])
        else:
            with pytest.raises(LoadError, match=refusal):
                make_pipeline(serialized, "here")


def test_the_files_are_of_all_kinds() -> None:
    assert len(FILES) == 7
    assert all(len(pipelines) >= 38 for pipelines in FILES.values())
    assert sum(_refusal(version, name) is None for version, name in CASES) > 200


@pytest.mark.parametrize("version", EARLY)
@pytest.mark.parametrize("name", [name for name in FILES["1.3.1"] if name.startswith(("letterbox", "pad"))])
def test_padding_of_early_versions_with_its_position(version: str, name: str) -> None:
    """A number alone filled only the first channel then: the padding was red, and is."""
    entry = FILES[version][name]
    serialized = deepcopy(entry["json"])
    for step in serialized["transform"]["transforms"]:
        if step["__class_fullname__"] == "PadIfNeeded":
            step["position"] = "top_left" if name.endswith("top left") else "center"
    _check_pixels(serialized, entry["pixels"])


def test_the_file_does_not_say_whether_an_early_padding_was_in_the_centre() -> None:
    early = FILES["1.3.1"]
    assert early["letterbox"]["json"] == early["letterbox, top left"]["json"]
    assert early["letterbox"]["pixels"] != early["letterbox, top left"]["pixels"]


def test_a_version_that_is_none_is_refused() -> None:
    serialized = {**FILES["1.3.1"]["resize"]["json"], "__version__": "latest"}
    with pytest.raises(LoadError, match="__version__: latest, expected that of the albumentations"):
        make_pipeline(serialized, "here")


def test_doing_nothing_may_have_any_probability() -> None:
    entry = deepcopy(FILES["2.0.8"]["nothing"])
    entry["json"]["transform"]["transforms"][0]["p"] = 0.5
    _check_pixels(entry["json"], entry["pixels"])


def test_the_samples_would_show_another_interpolation() -> None:
    entry = FILES["1.3.1"]["resize"]
    with pytest.raises(AssertionError):
        _check_pixels(FILES["1.3.1"]["resize, cubic"]["json"], entry["pixels"])
    assert re.match(r"\d", entry["json"]["__version__"])
