from pathlib import Path

import pytest
from samples import TINY_LABELS, random_weights, save_checkpoint

from handler.errors import LoadError
from handler.preprocess import make_pipeline, probe
from scripts.archive.ingredients import gather
from scripts.archive.recipe import Recipe


def _checkpoint(path: Path, **more: object) -> Path:
    """Of a convolutional network, which takes images of any size."""
    content = {"state_dict": random_weights("test_resnet"), "class_names": TINY_LABELS, "architecture": "test_resnet"}
    return save_checkpoint(path, {**content, **more})


@pytest.mark.parametrize(
    ("size", "shape"), [((96, 96), (3, 96, 96)), ([96], (3, 96, 96)), ("96", (3, 96, 96)), ([64, 96], (3, 64, 96))]
)
def test_the_checkpoints_image_size_is_that_of_the_preprocessing(
    tmp_path: Path, size: object, shape: tuple[int, int, int]
) -> None:
    recipe = Recipe(_checkpoint(tmp_path / "best.pt", image_size=size), "tiny")
    assert probe(make_pipeline(gather(recipe).preprocessing, "here"), "here") == shape


def test_an_image_size_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = _checkpoint(tmp_path / "best.pt", image_size="large")
    with pytest.raises(LoadError, match=r"best.pt: image_size: 'large', expected pixels"):
        gather(Recipe(path, "tiny"))
