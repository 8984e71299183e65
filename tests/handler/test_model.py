from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import TINY, random_weights

from handler.engines import ENGINES
from handler.errors import LoadError
from handler.model import Model, create_network, load_weights, read_weights
from handler.preprocess import Normalise
from handler.settings import EngineName

CPU = torch.device("cpu")
AS_IT_IS = torch.nn.Identity()
IMAGES = np.random.default_rng(0).random((2, 3, 160, 160), dtype=np.float32)


def test_scores_are_a_sigmoid_for_each_class() -> None:
    network = create_network(TINY, 3, {}, "here")
    scores = Model(network, CPU, AS_IT_IS).scores(IMAGES)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(IMAGES))).numpy()
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_unknown_architecture_names_near_ones() -> None:
    with pytest.raises(LoadError, match=r"here: architecture: resnet1, expected a name that timm .* knows: "):
        create_network("resnet1", 3, {}, "here")


def test_a_hub_name_is_refused_without_asking_the_hub() -> None:
    with pytest.raises(LoadError, match="architecture: hf-hub:timm/resnet18"):
        create_network("hf-hub:timm/resnet18", 3, {}, "here")


def test_wrong_model_kwargs() -> None:
    with pytest.raises(LoadError, match=r"model_kwargs: {'colour': 1}, refused by timm"):
        create_network(TINY, 3, {"colour": 1}, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("head.bias"), "head.bias: missing"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "extra: not in the architecture"),
        (lambda weights: weights.update({"head.bias": torch.zeros(9)}), "head.bias: shape [9], expected [3]"),
    ],
)
def test_weights_that_do_not_fit(change: object, message: str) -> None:
    weights = random_weights()
    change(weights)  # type: ignore[operator]
    with pytest.raises(LoadError) as caught:
        load_weights(create_network(TINY, 3, {}, "here"), weights, "best.pt")
    assert f"best.pt: {message}" in str(caught.value)


def test_read_weights(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"model.safetensors: missing"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"PK not this")
    with pytest.raises(LoadError, match=r"model.safetensors: not a safetensors file"):
        read_weights(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert read_weights(tmp_path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("run_func_( container_handle_, …) API call failed at model_container_runner.cpp, line 107"),
    ],
)
def test_a_lack_of_memory_is_python_s_own_error(error: Exception) -> None:
    class Full(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise error

    model = Model(Full(), CPU, AS_IT_IS)
    with pytest.raises(MemoryError):
        model.scores(IMAGES)
    model.free_memory()


def test_torch_really_says_so_when_a_cpu_has_too_little() -> None:
    class Greedy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.empty(2**46)

    with pytest.raises(MemoryError):
        Model(Greedy(), CPU, AS_IT_IS).scores(IMAGES)


def test_frozen_scores_are_those_of_the_network_for_any_batch() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), dtype=np.uint8)
    network = create_network(TINY, 3, {}, "here")
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255)
    plain, frozen = (Model(network, CPU, normalise) for _ in range(2))
    frozen.use("frozen", pixels[:4], 0.01, "here")
    assert isinstance(frozen.logits, torch.jit.ScriptModule)
    for images in (1, 3, 4, 8):
        np.testing.assert_allclose(frozen.scores(pixels[:images]), plain.scores(pixels[:images]), atol=1e-5)


def test_a_network_that_a_record_does_not_hold_is_refused() -> None:
    class Counting(torch.nn.Module):
        """Scores by the number of images, as Python sees it: the record keeps that of its example."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 3), float(len(images) % 2))

    with pytest.raises(LoadError, match=r"here: engine: frozen, expected eager: scores differ by 0\.2311"):
        Model(Counting(), CPU, AS_IT_IS).use("frozen", IMAGES, 0.01, "here")


def test_a_network_that_can_not_be_recorded_is_refused() -> None:
    class Asking(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch._C._get_tracing_state() is not None:
                raise TypeError("not under a tracer")
            return images.mean((2, 3))

    refused = r"engine: frozen, expected eager: it needs an architecture that torch.jit.trace can record: not under"
    with pytest.raises(LoadError, match=refused):
        Model(Asking(), CPU, AS_IT_IS).use("frozen", IMAGES, 0.01, "here")


def test_every_engine_of_the_settings_is_in_the_table() -> None:
    assert set(ENGINES) == set(get_args(EngineName))
    assert all(engine.devices and engine.needs for engine in ENGINES.values())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_gives_float32_scores_nearby(precision: str) -> None:
    network = create_network(TINY, 3, {}, "here")
    plain, reduced = Model(network, CPU, AS_IT_IS).scores(IMAGES), Model(network, CPU, AS_IT_IS, precision)
    scores = reduced.scores(IMAGES)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - plain).max() < 0.05
