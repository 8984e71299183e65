from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import TINY, random_weights

from handler.errors import LoadError
from handler.network import Forward, create_network, load_weights, read_weights


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


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_gives_float32_logits_nearby(precision: str) -> None:
    network = create_network(TINY, 3, {}, "here").eval()
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 160, 160), dtype=np.float32))
    with torch.inference_mode():
        plain, reduced = (Forward(network, torch.nn.Identity(), name)(images) for name in ("float32", precision))
    assert reduced.dtype == torch.float32
    assert 0 < (reduced - plain).abs().max() < 0.1
