import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from samples import random_weights, save_checkpoint

from handler.errors import LoadError
from scripts.archive.checkpoint import Checkpoint, read_checkpoint

WEIGHTS = {"a.weight": torch.ones(2, 2), "a.bias": torch.zeros(2)}


def _read(directory: Path, content: Any, key: str | None = None) -> Checkpoint:
    return read_checkpoint(save_checkpoint(directory / "best.pt", content), key)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_layouts_and_prefixes(tmp_path: Path, key: str | None, prefix: str) -> None:
    weights = {prefix + name: tensor for name, tensor in WEIGHTS.items()}
    checkpoint = _read(tmp_path, {key: weights, "epoch": 3} if key else weights)
    assert list(checkpoint.tensors) == list(WEIGHTS)
    assert checkpoint.key == key


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    path = save_checkpoint(tmp_path / f"best{suffix}", WEIGHTS)
    assert torch.equal(read_checkpoint(path).tensors["a.weight"], WEIGHTS["a.weight"])


def test_safetensors(tmp_path: Path) -> None:
    save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, tmp_path / "best.safetensors")
    assert sorted(read_checkpoint(tmp_path / "best.safetensors").tensors) == sorted(WEIGHTS)


def test_averaged_weights_come_first_and_a_key_picks_others(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "state_dict_ema": {"a.weight": torch.zeros(2, 2)}}
    assert _read(tmp_path, content).key == "state_dict_ema"
    assert _read(tmp_path, content, "state_dict").tensors.keys() == WEIGHTS.keys()
    with pytest.raises(LoadError, match=r"model: no state_dict there, the file has state_dict, state_dict_ema"):
        _read(tmp_path, content, "model")


def test_what_the_checkpoint_says(tmp_path: Path) -> None:
    checkpoint = _read(
        tmp_path,
        {
            "model_state_dict": WEIGHTS,
            "class_names": ["x", "y"],
            "thresholds": torch.tensor([0.25, 0.5]),
            "config": {"architecture": "resnet18", "image_size": 96},
        },
    )
    assert (checkpoint.architecture, checkpoint.image_size) == ("resnet18", 96)
    assert (checkpoint.labels, checkpoint.thresholds) == (["x", "y"], [0.25, 0.5])


def test_timm_trainers_own_layout(tmp_path: Path) -> None:
    """Its command line is in `args`, a Namespace: the one Python object that is let through."""
    args = argparse.Namespace(model="resnet18", img_size=None, lr=0.1)
    checkpoint = _read(tmp_path, {"arch": "resnet34", "state_dict": WEIGHTS, "args": args})
    assert checkpoint.architecture == "resnet34"
    assert _read(tmp_path, {"model": WEIGHTS, "args": args}).architecture == "resnet18"


@pytest.mark.parametrize("size", [(384, 384), [384], 384, "384", torch.tensor([384, 192])])
@pytest.mark.parametrize("key", ["image_size", "img_size"])
def test_an_image_size_of_any_kind_is_kept(tmp_path: Path, key: str, size: Any) -> None:
    checkpoint = _read(tmp_path, {"state_dict": WEIGHTS, "config": {"img_size": None, key: size}})
    assert checkpoint.image_size == (size.tolist() if isinstance(size, torch.Tensor) else size)


@pytest.mark.parametrize(("size", "kept"), [((3, 384, 192), (3, 384, 192)), (2048, None), ("2048", None)])
def test_an_input_size_is_an_image_size_only_if_it_has_sides(tmp_path: Path, size: Any, kept: Any) -> None:
    """A single number is as often that of features."""
    assert _read(tmp_path, {"state_dict": WEIGHTS, "config": {"input_size": size}}).image_size == kept


class Trap:
    fired = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "fired", True)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(LoadError, match=r"best.pt: "):
        read_checkpoint(tmp_path / "best.pt")
    torch.save({"state_dict": WEIGHTS, "extra": Trap()}, tmp_path / "best.pt")
    with pytest.raises(LoadError, match=r"best.pt: holds a Python object, .*setattr; expected tensors"):
        read_checkpoint(tmp_path / "best.pt")
    assert not Trap.fired


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a state_dict"),
        ({}, "no state_dict"),
        ({"epoch": 3}, "no state_dict: expected one at the top or under state_dict_ema, state_dict"),
        ({"state_dict": {"a": 1}}, "no state_dict"),
        ({"state_dict": {}}, "no state_dict"),
        ({"state_dict": {"a": torch.ones(1, device="meta")}}, "a: on the meta device, which holds no numbers"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(LoadError) as caught:
        read_checkpoint(tmp_path / "best.pt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"best.pt: missing, expected a checkpoint"):
        read_checkpoint(tmp_path / "best.pt")
    whole = save_checkpoint(tmp_path / "whole.pt", random_weights()).read_bytes()
    for name, content in {"best.pt": whole[: len(whole) // 2], "text.pt": b"hello", "empty.pt": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LoadError) as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "best.safetensors").write_bytes(b"hello")
    with pytest.raises(LoadError, match="not a safetensors file"):
        read_checkpoint(tmp_path / "best.safetensors")
