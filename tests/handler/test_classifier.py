import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import CHELSEA, COFFEE, chelsea

from handler.classifier import Classifier
from handler.errors import BadBase64, ItemError, LoadError, OutOfMemory, UnsupportedSize
from handler.item import Item

CPU = torch.device("cpu")


def test_demo_knows_chelsea(demo: Classifier) -> None:
    [scores] = demo.classify([CHELSEA])
    assert not isinstance(scores, ItemError)
    fired = {demo.labels[index] for index in np.flatnonzero(scores >= demo.thresholds)}
    assert fired == {"tabby", "tiger cat", "Egyptian cat"}


def test_each_outcome_keeps_its_place(demo: Classifier) -> None:
    """Nineteen images in three passes of eight, three of them bad, one of those bad before it came."""
    failed = BadBase64()
    payloads: list[bytes | ItemError] = [chelsea() if index % 2 else COFFEE for index in range(19)]
    payloads[0], payloads[7], payloads[18] = b"no image", failed, CHELSEA[:5000]
    outcomes = demo.classify(payloads)
    codes = {index: one.code for index, one in enumerate(outcomes) if isinstance(one, ItemError)}
    assert codes == {0: "not_an_image", 7: "bad_base64", 18: "corrupt_image"}
    assert outcomes[7] is failed
    for index, one in enumerate(outcomes):
        if not isinstance(one, ItemError):
            assert (one[1] > 0.8) == bool(index % 2)


def test_no_images(demo: Classifier) -> None:
    assert demo.classify([]) == []


def test_a_failing_forward_pass_fails_its_images_alone(demo: Classifier) -> None:
    class Broken:
        def scores(self, images: NDArray[Any]) -> None:
            raise RuntimeError("device on fire")

    broken = dataclasses.replace(demo, model=Broken())  # type: ignore[arg-type]
    outcomes = broken.classify([CHELSEA, b"no image"])
    assert [one.code for one in outcomes if isinstance(one, ItemError)] == ["internal_error", "not_an_image"]
    assert "fire" not in str(outcomes[0])


class Crammed:
    """A model whose device has memory for one image, and for none with the brightness in `never`."""

    def __init__(self, never: float | None = None) -> None:
        self.never = never
        self.passes: list[int] = []
        self.freed = 0

    def scores(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.passes.append(len(images))
        if len(images) > 1 or float(images.mean()) == self.never:
            raise MemoryError
        return np.full((1, 13), float(images.mean()), dtype=np.float32)

    def free_memory(self) -> None:
        self.freed += 1


def test_a_batch_that_the_memory_does_not_do_for_is_tried_one_by_one(demo: Classifier) -> None:
    model = Crammed(never=0.25)
    items: list[Item[NDArray[Any]] | ItemError] = [
        Item(np.full((4, 4, 3), value), demo.options) for value in (0.5, 0.25, 0.75)
    ]
    first, second, third = dataclasses.replace(demo, model=model).score(items)  # type: ignore[arg-type]
    assert model.passes == [3, 1, 1, 1]
    assert model.freed == 1
    assert isinstance(second, OutOfMemory)
    assert not isinstance(first, ItemError)
    assert not isinstance(third, ItemError)
    assert (first.scores[0], third.scores[0]) == (0.5, 0.75)


def test_one_image_that_the_memory_does_not_do_for_is_tried_again_once(demo: Classifier) -> None:
    model = Crammed(never=0.25)
    item: Item[NDArray[Any]] = Item(np.full((4, 4, 3), 0.25), demo.options)
    [outcome] = dataclasses.replace(demo, model=model).score([item])  # type: ignore[arg-type]
    assert model.passes == [1, 1]
    assert isinstance(outcome, OutOfMemory)


def test_a_photo_that_comes_out_in_another_shape_fails_alone(demo: Classifier) -> None:
    """As a padding does that the photo is larger than."""

    def prepare(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return np.zeros((224, 224, 3) if pixels.shape[1] < 600 else (*pixels.shape[:2], 3), np.uint8)

    padding = dataclasses.replace(demo, pipeline=dataclasses.replace(demo.pipeline, prepare=prepare))
    first, second, third = padding.classify([COFFEE, CHELSEA, CHELSEA])  # 600 and 451 pixels wide
    assert isinstance(first, UnsupportedSize)
    assert not isinstance(second, ItemError)
    assert not isinstance(third, ItemError)


def test_a_score_that_is_no_number_fails_its_image_alone(demo: Classifier) -> None:
    class Half:
        def scores(self, images: NDArray[Any]) -> NDArray[np.float32]:
            return np.array([[np.nan] * 13, [0.5] * 13], dtype=np.float32)

    first, second = dataclasses.replace(demo, model=Half()).classify([CHELSEA, COFFEE])  # type: ignore[arg-type]
    assert isinstance(first, ItemError)
    assert first.status == 500
    assert not isinstance(second, ItemError)


def _edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model-config.yaml").unlink(), "model-config.yaml: missing"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors: missing"),
        (lambda d: (d / "index_to_name.json").unlink(), "index_to_name.json: missing"),
        (lambda d: (d / "thresholds.json").unlink(), "thresholds.json: missing"),
        (lambda d: (d / "preprocessing.json").unlink(), "preprocessing.json: missing"),
        (lambda d: (d / "metadata.json").write_text("["), "metadata.json: not valid JSON"),
        (lambda d: (d / "metadata.json").write_text("[]"), "metadata.json: expected a JSON object"),
        (_edit("metadata.json", lambda m: m.update(weights_sha256="0")), "model.safetensors: SHA-256 "),
        (_edit("thresholds.json", lambda m: m.update(ant=2)), "thresholds.json: 'ant': 2, expected a number above 0"),
        (
            lambda d: (
                _edit("index_to_name.json", lambda m: m.update({"3": "dog"}))(d),
                _edit("thresholds.json", lambda m: m.update(dog=0.5))(d),
            ),
            "network.xml: converted from other weights, preprocessing, architecture or number of labels, expected",
        ),
    ],
)
def test_a_damaged_archive_does_not_load(tiny_directory: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(tiny_directory)
    with pytest.raises(LoadError) as caught:
        Classifier.load(tiny_directory, CPU)
    assert message in str(caught.value)


def test_self_check_names_input_label_and_scores(tiny_directory: Path) -> None:
    Classifier.load(tiny_directory, CPU).self_check(tiny_directory)
    _edit("golden.json", lambda golden: golden["noise.bmp"].__setitem__(1, 0.9999))(tiny_directory)
    with pytest.raises(LoadError, match=r"noise.bmp: golden self-check failed: 'bee' scores .* expected 0.9999"):
        Classifier.load(tiny_directory, CPU).self_check(tiny_directory)


def test_self_check_of_an_input_that_cannot_be_read(tiny_directory: Path) -> None:
    (tiny_directory / "golden" / "noise.bmp").write_bytes(b"gone")
    with pytest.raises(LoadError, match=r"noise.bmp: not_an_image"):
        Classifier.load(tiny_directory, CPU).self_check(tiny_directory)


def test_warm_up_runs_the_largest_batch_and_one_image(demo: Classifier) -> None:
    shapes = []

    class Recorder:
        def scores(self, images: NDArray[Any]) -> None:
            shapes.append(tuple(images.shape))

    dataclasses.replace(demo, model=Recorder()).warm_up()  # type: ignore[arg-type]
    assert shapes == [(8, 224, 224, 3)] * 3 + [(1, 224, 224, 3)] * 3
