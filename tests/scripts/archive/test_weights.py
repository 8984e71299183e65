"""Weights as trainers save them, found by what fits the architecture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from samples import TINY, random_weights, save_checkpoint

from handler.errors import LoadError
from handler.network import create_network
from scripts.archive.checkpoint import read_checkpoint
from scripts.archive.weights import Weights, find_weights

RESNET = "test_resnet"  # it has batch norms
Tensors = dict[str, torch.Tensor]


def _find(path: Path, content: Mapping[str, Any], key: str | None = None, architecture: str = RESNET) -> Weights:
    checkpoint = read_checkpoint(save_checkpoint(path / "best.pt", content))
    return find_weights(checkpoint.entries, create_network(architecture, 3, {}, "here"), key, path / "best.pt")


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _same(found: Weights, tensors: Mapping[str, torch.Tensor]) -> bool:
    return found.tensors.keys() == tensors.keys() and all(
        torch.equal(found.tensors[name], tensors[name]) for name in tensors
    )


@pytest.fixture(scope="module")
def trained() -> Tensors:
    return random_weights(RESNET)


@pytest.fixture(scope="module")
def averaged(trained: Tensors) -> Tensors:
    return {name: tensor + 1 for name, tensor in trained.items()}


@pytest.mark.parametrize(
    "key",
    [
        *("", "state_dict", "model_state_dict", "model", "state_dict_ema", "ema", "model_ema", "ema_state_dict"),
        *("model_state", "net", "network", "weights", "params", "state", "module", "backbone", "ours"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod.", "_orig_mod.module.", "net.encoder."])
def test_any_key_and_any_prefix(tmp_path: Path, trained: Tensors, key: str, prefix: str) -> None:
    weights = _under(prefix, trained)
    found = _find(tmp_path, {key: weights, "epoch": 3} if key else weights)
    assert _same(found, trained)
    assert (found.others, found.left_out) == ((), ())


def test_what_is_beside_the_network_is_named_and_left_out(tmp_path: Path, trained: Tensors) -> None:
    beside = {"criterion.pos_weight": torch.ones(3), "val_f1.tp": torch.ones(3), "projector.weight": torch.ones(2, 2)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}}
    found = _find(tmp_path, {"state_dict": _under("model.", trained) | beside, "optimizer": optimizer})
    assert _same(found, trained)
    assert found.left_out == tuple(beside)
    assert str(found) == (
        f"{len(trained)} tensors under state_dict.model; left out: criterion.pos_weight, val_f1.tp, projector.weight"
    )


def test_stochastic_weight_averaging(tmp_path: Path, trained: Tensors) -> None:
    network = timm.create_model(RESNET, num_classes=3)
    network.load_state_dict(trained)
    found = _find(tmp_path, dict(torch.optim.swa_utils.AveragedModel(network).state_dict()))
    assert _same(found, trained)
    assert found.left_out == ("n_averaged",)


@pytest.mark.parametrize(
    "layout",
    [
        lambda raw, ema: {"model": raw, "model_ema": ema},
        lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
        lambda raw, ema: {"state_dict": _under("model.", raw) | _under("ema_model.module.", ema)},
        lambda raw, ema: {"state_dict": ema, "current_model_state": raw},  # Lightning's WeightAveraging
        lambda raw, ema: {**raw, **_under("ema.module.", ema)},
    ],
)
def test_averaged_weights_come_first_and_the_others_are_named(
    tmp_path: Path, trained: Tensors, averaged: Tensors, layout: Callable[[Tensors, Tensors], dict[str, Any]]
) -> None:
    found = _find(tmp_path, layout(trained, averaged))
    assert _same(found, averaged)
    assert len(found.others) == 1
    assert "averaged weights come first" in str(found)


def test_a_key_takes_others(tmp_path: Path, trained: Tensors, averaged: Tensors) -> None:
    content = {"state_dict": _under("student.", trained) | _under("teacher.", averaged), "ema": averaged}
    assert _same(_find(tmp_path, content), averaged)
    assert _same(_find(tmp_path, content, "state_dict"), trained)
    assert _same(_find(tmp_path, content, "state_dict.teacher"), averaged)
    with pytest.raises(LoadError, match=r"model: no such weights there, the file has state_dict, ema"):
        _find(tmp_path, content, "model")


def test_aliases_are_one_and_the_same(tmp_path: Path, trained: Tensors) -> None:
    found = _find(tmp_path, {"state_dict": _under("model.", trained) | _under("compiled._orig_mod.", trained)})
    assert _same(found, trained)
    assert (found.others, found.left_out) == ((), ())


def test_counters_of_batches_may_be_missing(tmp_path: Path, trained: Tensors) -> None:
    kept = {name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(trained)
    assert _find(tmp_path, kept).tensors.keys() == trained.keys()


def test_wrappers_inside_the_network(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    wrapped = {name.replace("blocks.0.", "blocks.0._orig_mod."): tensor for name, tensor in weights.items()}
    assert wrapped.keys() != weights.keys()
    assert _same(_find(tmp_path, wrapped, architecture=TINY), weights)


def test_more_of_a_network_than_the_architecture_has_is_refused(tmp_path: Path) -> None:
    """ResNet-34 has all that ResNet-18 has, and more."""
    weights = _under("model.", random_weights("resnet34"))
    with pytest.raises(LoadError, match=r"layer1.2.conv1.weight: not in the architecture, .* under model"):
        _find(tmp_path, weights, architecture="resnet18")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": None}, r"fc.weight: missing, expected the \d+ tensors of it under model \(1 missing, 0 extra\)"),
        ({"neck.weight": torch.ones(2)}, "neck.weight: not in the architecture"),
        ({"fc.weight": torch.full((3, 96), torch.nan)}, r"fc.weight: 288 of 288 numbers are not finite"),
        ({"fc.weight": torch.ones((3, 96), device="meta")}, "fc.weight: on the meta device, which holds no numbers"),
        ({"conv1.1.bias": torch.ones(3)}, r"conv1.1.bias: shape \[3\], expected \["),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, trained: Tensors, change: dict[str, Any], message: str) -> None:
    weights = {name: tensor for name, tensor in {**trained, **change}.items() if tensor is not None}
    with pytest.raises(LoadError, match=message):
        _find(
            tmp_path, {"state_dict": _under("model.", weights)} if "under" not in message else _under("model.", weights)
        )


def test_another_architecture_altogether(tmp_path: Path, trained: Tensors) -> None:
    with pytest.raises(LoadError, match=r"missing, expected the \d+ tensors of it \(\d+ missing, \d+ extra: "):
        _find(tmp_path, {"state_dict": trained}, architecture=TINY)
