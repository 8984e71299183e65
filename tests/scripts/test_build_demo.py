from pathlib import Path

import numpy as np
import pytest
import torch
from samples import PHOTOS, chelsea

from handler.classifier import Classifier
from handler.errors import ItemError
from scripts.build_demo import CATS, EXPECTED, feline_network, photo_logits, shift_and_thresholds


def _labels(demo: Classifier, payload: bytes) -> set[str]:
    [scores] = demo.classify([payload])
    assert not isinstance(scores, ItemError)
    return {demo.labels[index] for index in np.flatnonzero(scores >= demo.thresholds)}


@pytest.mark.parametrize("photo", EXPECTED)
def test_sample_photos_get_their_labels(demo: Classifier, photo: str) -> None:
    assert _labels(demo, (PHOTOS / photo).read_bytes()) == EXPECTED[photo]


@pytest.mark.parametrize("photo", ["retina.jpg", "hubble_deep_field.jpg", "ihc.png", "grass.png"])
def test_photos_it_was_not_set_on(demo: Classifier, photo: str) -> None:
    assert _labels(demo, (PHOTOS / photo).read_bytes()) == set()


@pytest.mark.parametrize("width", [160, 320, 1280])
@pytest.mark.parametrize("quality", [40, 90])
def test_chelsea_in_other_sizes_and_qualities(demo: Classifier, width: int, quality: int) -> None:
    assert _labels(demo, chelsea(width, quality=quality)) == EXPECTED["chelsea.png"]


def test_rows_are_imagenets_cats() -> None:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    for index, cat in enumerate(CATS):
        assert cat.lower() in info.index_to_description(281 + index, detailed=True).lower()


def test_shift_and_thresholds_separate_what_should_fire() -> None:
    logits = photo_logits(feline_network())
    shift, thresholds = shift_and_thresholds(logits)
    scores = torch.sigmoid(logits - shift)
    for row, expected in zip(scores, EXPECTED.values(), strict=True):
        assert {cat for cat, score in zip(CATS, row, strict=True) if score >= thresholds[cat]} == expected
    assert set(thresholds) == set(CATS)


def test_metadata_says_what_it_is_and_is_not(demo: Classifier) -> None:
    assert "What it is not: trained for several labels a photo, calibrated, or evaluated." in demo.metadata["notes"]
    assert "Apache-2.0" in demo.metadata["licence"]


def test_checkpoint_is_a_trainers(demo_checkpoint: Path) -> None:
    content = torch.load(demo_checkpoint, weights_only=True)
    assert set(content) == {"model_state_dict", "class_names", "thresholds", "config"}
