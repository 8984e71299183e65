from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.errors import LoadError
from scripts.archive.recipe import KINDS, PRESETS, Recipe, read_recipe


def _file(directory: Path, content: object) -> Path:
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    content = {"checkpoint": "best.pt", "name": "cats", "labels": "l.txt", "thresholds": 0.4, "golden": ["a.jpg"]}
    recipe = read_recipe(_file(tmp_path, content), {})
    assert recipe.checkpoint == tmp_path / "best.pt"
    assert recipe.labels == tmp_path / "l.txt"
    assert recipe.golden == [tmp_path / "a.jpg"]
    assert recipe.thresholds == 0.4


def test_flags_win_and_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    path = _file(tmp_path, {"checkpoint": "best.pt", "name": "cats", "version": "1.0"})
    recipe = read_recipe(path, {"checkpoint": "other.pt", "version": "2.0", "labels": None})
    assert (recipe.checkpoint, recipe.version, recipe.name) == (Path("other.pt"), "2.0", "cats")


def test_everything_can_stand_in_the_file(tmp_path: Path) -> None:
    content = {
        "checkpoint": "best.pt",
        "name": "cats",
        "labels": ["a", "b"],
        "thresholds": {"a": 0.4, "b": 0.5},
        "preprocessing": {"transform": {}},
        "handler": {"top_k": 3},
        "torchserve": {"batchSize": 4},
    }
    recipe = read_recipe(_file(tmp_path, content), {})
    assert (recipe.labels, recipe.thresholds) == (["a", "b"], {"a": 0.4, "b": 0.5})
    assert (recipe.preprocessing, recipe.handler, recipe.torchserve) == (
        {"transform": {}},
        {"top_k": 3},
        {"batchSize": 4},
    )


def test_timm_is_the_default_preprocessing() -> None:
    assert read_recipe(None, {"checkpoint": "x", "name": "x", "preprocessing": "timm"}).preprocessing is None


def test_every_key_has_its_kind() -> None:
    assert set(KINDS) == set(Recipe.__dataclass_fields__)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a mapping of recipe keys"),
        ({"name": "x"}, "recipe.yaml: checkpoint: missing, expected a path"),
        ({"checkpoint": "x"}, "recipe.yaml: name: missing, expected a string"),
        (
            {"checkpoint": "x", "name": "x", "label": "l.txt"},
            "recipe.yaml: label: unknown key, expected one of checkpoint",
        ),
        (
            {"checkpoint": "x", "name": "x", "version": 1.1},
            "recipe.yaml: version: 1.1, expected a string: put it in quotes",
        ),
        ({"checkpoint": "x", "name": "my cats"}, "recipe.yaml: name: 'my cats', expected letters"),
        ({"checkpoint": "x", "name": "../x"}, "recipe.yaml: name: '../x', expected letters"),
        ({"checkpoint": "x", "name": "x", "golden": "a.jpg"}, "recipe.yaml: golden: 'a.jpg', expected a list of paths"),
        ({"checkpoint": "x", "name": "x", "golden": [1]}, "recipe.yaml: golden: [1], expected a list of paths"),
        ({"checkpoint": 5, "name": "x"}, "recipe.yaml: checkpoint: 5, expected a path"),
        ({"checkpoint": "x", "name": "x", "resize": "cubic"}, "recipe.yaml: resize: 'cubic', expected pillow or area"),
        ({"checkpoint": "x", "name": "x", "transform": {"crop": 1}}, "recipe.yaml: transform: crop: 1, expected"),
        (
            {"checkpoint": "x", "name": "x", "transform": {"crop_pct": 2}},
            "recipe.yaml: transform: crop_pct: 2, expected",
        ),
    ],
)
def test_wrong_recipes(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        read_recipe(_file(tmp_path, content), {})
    assert message in str(caught.value)


def test_torchvisions_transform_may_be_changed(tmp_path: Path) -> None:
    content = {"checkpoint": "x", "name": "x", "preprocessing": "torchvision", "transform": {"crop_pct": 1}}
    recipe = read_recipe(_file(tmp_path, content), {})
    assert recipe.preprocessing is None
    assert recipe.transform == {**PRESETS["torchvision"], "crop_pct": 1}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"recipe.yaml: missing"):
        read_recipe(tmp_path / "recipe.yaml", {})
