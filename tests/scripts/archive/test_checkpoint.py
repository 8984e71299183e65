"""What a file holds beside its weights, and which files are none. test_weights.py has where weights are found."""

import argparse
import datetime
import enum
import json
import pickle
import random
import sys
import types
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from samples import TINY, TINY_LABELS, random_weights, save_checkpoint
from timm.models._hub import save_for_hf

from handler.errors import LoadError
from scripts.archive.checkpoint import Checkpoint, read_checkpoint

WEIGHTS = {"a.weight": torch.ones(2, 2), "a.bias": torch.zeros(2)}


def _read(directory: Path, content: Any) -> Checkpoint:
    return read_checkpoint(save_checkpoint(directory / "best.pt", content))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pth.tar"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    path = save_checkpoint(tmp_path / f"best{suffix}", WEIGHTS)
    assert torch.equal(read_checkpoint(path).entries[""]["a.weight"], WEIGHTS["a.weight"])


def test_safetensors_and_what_their_header_says(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_file(WEIGHTS, path, {"architecture": "resnet18", "class_names": '["ant", "bee"]', "format": "pt"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.entries[""].keys() == WEIGHTS.keys()
    assert (checkpoint.facts.architecture, checkpoint.facts.labels) == ("resnet18", ["ant", "bee"])


def test_what_the_checkpoint_says(tmp_path: Path) -> None:
    config = {"architecture": "resnet18", "image_size": 96}
    content = {"model": WEIGHTS, "class_names": ["x", "y"], "thresholds": torch.tensor([0.25, 0.5]), "config": config}
    facts = _read(tmp_path, content).facts
    assert (facts.architecture, facts.image_size) == ("resnet18", 96)
    assert (facts.labels, facts.thresholds) == (["x", "y"], [0.25, 0.5])
    assert facts.where["architecture"] == "config.architecture"


@pytest.mark.parametrize("key", ["architecture", "arch", "model_name", "backbone", "encoder_name", "model"])
@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18", "hf_hub:timm/resnet18", "hf-hub:timm/resnet18"])
def test_spellings_of_the_architecture(tmp_path: Path, key: str, name: str) -> None:
    assert _read(tmp_path, {"state_dict": WEIGHTS, "hyper_parameters": {key: name}}).facts.architecture == "resnet18"


@pytest.mark.parametrize(
    "config",
    [
        {"model": {"name": "resnet18", "pretrained": True}},
        {"name": "run 5", "model": {"backbone": "resnet18"}},
        {"experiment": {"model": {"arch": "resnet18"}}, "model": "ours"},
    ],
)
def test_a_nested_architecture_is_the_one_that_timm_knows(tmp_path: Path, config: Any) -> None:
    assert _read(tmp_path, {"state_dict": WEIGHTS, "config": config}).facts.architecture == "resnet18"


def test_a_tag_stays_with_its_preprocessing(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "arch": "timm/vit_base_patch16_224.augreg_in21k"}
    assert _read(tmp_path, content).facts.architecture == "vit_base_patch16_224.augreg_in21k"


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        ("class_names", ["x", "y"]),
        ("labels", ("x", "y")),
        ("classes", np.array(["x", "y"])),
        ("label_names", np.array(["x", "y"], dtype=object)),
        ("label_list", ["x", "y"]),
        ("target_names", ["x", "y"]),
        ("categories", ["x", "y"]),
        ("class_to_idx", {"x": 0, "y": 1}),
        ("label2id", {"x": np.int64(0), "y": np.int64(1)}),
        ("idx_to_class", {0: "x", 1: "y"}),
        ("id2label", {"0": "x", "1": "y"}),
    ],
)
def test_spellings_of_labels(tmp_path: Path, key: str, labels: Any) -> None:
    found = _read(tmp_path, {"state_dict": WEIGHTS, "meta": {key: labels}}).facts.labels
    assert type(found) in (list, dict)
    assert {"x", "y"} <= {*found} | ({*found.values()} if isinstance(found, dict) else set())


def test_numbers_are_no_labels(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "labels": torch.tensor([0, 1]), "classes": 2, "class_to_idx": {"x": 0, "y": 1}}
    assert _read(tmp_path, content).facts.labels == {"x": 0, "y": 1}


@pytest.mark.parametrize(
    "thresholds",
    [
        {"x": np.float32(0.25), "y": torch.tensor(0.5)},
        {"x": np.float16(0.25), "y": np.longdouble(0.5)},
        {"x": 0.25, "y": 0.5},
    ],
)
def test_thresholds_of_any_type(tmp_path: Path, thresholds: Any) -> None:
    assert _read(tmp_path, {"state_dict": WEIGHTS, "thresholds": thresholds}).facts.thresholds == {"x": 0.25, "y": 0.5}


def test_a_schedulers_threshold_is_none_of_labels(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "lr_schedulers": [{"threshold": 1e-4}], "scheduler": {"threshold": 1e-4}}
    assert _read(tmp_path, content).facts.thresholds is None


def test_timm_trainers_own_layout(tmp_path: Path) -> None:
    args = argparse.Namespace(
        model="resnet18",
        img_size=None,
        lr=0.1,
        mean=[0.5, 0.5, 0.5],
        std=None,
        interpolation="",
        crop_pct=0.9,
        gp="max",
    )
    facts = _read(tmp_path, {"arch": "resnet34", "state_dict": WEIGHTS, "args": args}).facts
    assert facts.architecture == "resnet34"
    assert facts.transform == {"mean": [0.5, 0.5, 0.5], "crop_pct": 0.9}
    assert facts.model_kwargs == {"global_pool": "max"}
    assert _read(tmp_path, {"model": WEIGHTS, "args": args}).facts.architecture == "resnet18"


def test_args_yaml_beside_timms_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("model: resnet18\nimg_size: 96\nmean: null\n")
    facts = read_checkpoint(save_checkpoint(tmp_path / "model_best.pth.tar", {"state_dict": WEIGHTS})).facts
    assert (facts.architecture, facts.image_size) == ("resnet18", 96)
    assert read_checkpoint(save_checkpoint(tmp_path / "other.pt", WEIGHTS)).facts.architecture is None


@pytest.mark.parametrize("size", [(384, 384), [384], 384, "384", torch.tensor([384, 192])])
@pytest.mark.parametrize("key", ["image_size", "img_size"])
def test_an_image_size_of_any_kind_is_kept(tmp_path: Path, key: str, size: Any) -> None:
    found = _read(tmp_path, {"state_dict": WEIGHTS, "config": {"img_size": None, key: size}}).facts.image_size
    assert found == (
        list(size) if isinstance(size, tuple) else torch.Tensor.tolist(size) if hasattr(size, "dim") else size
    )


@pytest.mark.parametrize(("size", "kept"), [((3, 384, 192), [3, 384, 192]), (2048, None), ("2048", None)])
def test_an_input_size_is_an_image_size_only_if_it_has_sides(tmp_path: Path, size: Any, kept: Any) -> None:
    """A single number is as often that of features."""
    assert _read(tmp_path, {"state_dict": WEIGHTS, "config": {"input_size": size}}).facts.image_size == kept


class Phase(enum.Enum):
    LAST = "last"


@dataclass
class Config:
    backbone: str
    classes: list[str]


class Attributes(dict[str, Any]):  # as Lightning's AttributeDict
    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_objects_beside_the_weights_stop_nothing_and_run_nothing(tmp_path: Path) -> None:
    content = {
        "state_dict": WEIGHTS,
        "path": tmp_path,
        "date": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC),
        "phase": Phase.LAST,
        "metrics": defaultdict(list, {"f1": [0.5]}),
        "last": deque([1.0, 2.0], maxlen=5),
        "arguments": types.SimpleNamespace(image_size=96),
        "torch": torch.__version__,
        "generator": np.random.default_rng(0),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "dtype": np.dtype("float32"),
        "criterion": torch.nn.BCEWithLogitsLoss(),
        "hyper_parameters": Attributes(config=Config("resnet18", ["x", "y"])),
    }
    checkpoint = _read(tmp_path, content)
    assert checkpoint.entries["state_dict"].keys() == WEIGHTS.keys()
    assert (checkpoint.facts.architecture, checkpoint.facts.labels) == ("resnet18", ["x", "y"])
    assert checkpoint.facts.image_size == 96
    assert f"{__name__}.Phase" in checkpoint.unread


def test_a_configuration_of_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form in which omegaconf 2.3 pickles it; the library itself is no dependency here."""
    module = types.ModuleType("omegaconf.dictconfig")
    for name in ("DictConfig", "ListConfig", "AnyNode"):
        made = type(name, (), {"__module__": module.__name__})
        setattr(module, name, made)
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def node(kind: str, **state: Any) -> Any:
        made = getattr(module, kind)()
        made.__dict__.update(state)
        return made

    name, labels = node("AnyNode", _val="resnet18"), [node("AnyNode", _val=label) for label in ("x", "y")]
    model = node("DictConfig", _content={"backbone": name})
    root = node("DictConfig", _content={"model": model, "classes": node("ListConfig", _content=labels)})
    model._parent = root  # a circle
    facts = _read(tmp_path, {"state_dict": WEIGHTS, "hyper_parameters": {"cfg": root}}).facts
    assert (facts.architecture, facts.labels) == ("resnet18", ["x", "y"])


def test_what_holds_itself(tmp_path: Path) -> None:
    labels: list[Any] = ["x"]
    labels.append(labels)
    content: dict[str, Any] = {"state_dict": WEIGHTS, "labels": labels}
    content["config"] = content
    assert _read(tmp_path, content).entries["state_dict"].keys() == WEIGHTS.keys()


class Trap:
    fired = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "fired", True)


class Ours:
    """A class with code of its own in all places that a pickle may reach."""

    fired = False

    def __init__(self, value: int = 0) -> None:
        Ours.fired = value == 1

    def __reduce__(self) -> Any:
        return Ours, (1,), {"a": 1}

    def __setstate__(self, state: Any) -> None:
        Ours.fired = True


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(LoadError, match=r"best.pt: "):
        read_checkpoint(tmp_path / "best.pt")
    torch.save({"state_dict": WEIGHTS, "extra": Trap()}, tmp_path / "best.pt")
    with pytest.raises(LoadError, match=r"best.pt: holds a Python object, .*setattr; expected tensors"):
        read_checkpoint(tmp_path / "best.pt")
    assert not Trap.fired
    assert _read(tmp_path, {"state_dict": WEIGHTS, "extra": Ours()}).unread == (f"{__name__}.Ours",)
    assert not Ours.fired


def test_what_one_file_names_is_not_allowed_to_the_next_reader(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "best.pt", {"state_dict": WEIGHTS, "extra": Ours()})
    read_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a state_dict"),
        ({}, "no state_dict"),
        ({"epoch": 3}, "no state_dict: no tensors at the top or under epoch"),
        ({"state_dict": {"a": 1}}, "no state_dict"),
        ({"state_dict": {}}, "no state_dict"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(LoadError) as caught:
        read_checkpoint(tmp_path / "best.pt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrap", [lambda network: network, lambda network: {"epoch": 3, "model": network}])
def test_a_whole_network_is_refused_with_the_lines_that_save_its_weights(tmp_path: Path, wrap: Any) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(wrap(network), tmp_path / "best.pt")
    with pytest.raises(LoadError, match=r"a whole network, a pickled torch.nn.modules.container.Sequential") as caught:
        read_checkpoint(tmp_path / "best.pt")
    lines = (
        "import torch; model = torch.load('best.pt', weights_only=False); torch.save(model.state_dict(), 'weights.pt')"
    )
    assert lines in str(caught.value)


def test_torchscript_is_refused_with_the_lines_that_save_its_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "best.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(LoadError, match=r"holds a TorchScript program; .* model = torch.jit.load\('best.pt'\); "):
        read_checkpoint(tmp_path / "best.pt")


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"best.pt: missing, expected a checkpoint"):
        read_checkpoint(tmp_path / "best.pt")
    with pytest.raises(LoadError, match=r"a folder without model.safetensors"):
        read_checkpoint(tmp_path)
    whole = save_checkpoint(tmp_path / "whole.pt", random_weights()).read_bytes()
    wrong = {
        "half.pt": (whole[: len(whole) // 2], "not a torch checkpoint"),
        "text.pt": (b"hello", ""),
        "empty.pt": (b"", "empty"),
        "pointer.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "page.pt": (b"<!doctype html><html></html>", "HTML"),
        "net.onnx": (b"\x08\x07\x12\x07pytorch", "ONNX"),
        "weights.h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
        "best.safetensors": (b"hello", "not a safetensors file"),
        "damaged.pt": (whole[:2000] + bytes(2000) + whole[4000:], ""),
    }
    for name, (content, message) in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LoadError) as caught:
            read_checkpoint(tmp_path / name)
        assert message in str(caught.value), name
        assert "\n" not in str(caught.value)


def test_shards_with_their_index(tmp_path: Path) -> None:
    """As accelerate's `save_model` and transformers' `save_pretrained` write them."""
    save_file({"a.weight": WEIGHTS["a.weight"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"a.bias": WEIGHTS["a.bias"]}, tmp_path / "model-00002-of-00002.safetensors")
    shards = {"a.weight": "model-00001-of-00002.safetensors", "a.bias": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 24}, "weight_map": shards}))
    for path in (tmp_path, index):
        assert read_checkpoint(path).entries[""].keys() == WEIGHTS.keys()
    index.write_text(json.dumps({"weight_map": {**shards, "b": "../outside.safetensors"}}))
    with pytest.raises(LoadError, match=r"outside.safetensors: leads elsewhere"):
        read_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {**shards, "b": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(LoadError, match=r"b: not in model-00002-of-00002.safetensors"):
        read_checkpoint(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(LoadError, match=r"model-00002-of-00002.safetensors: missing"):
        read_checkpoint(tmp_path)


def test_deepspeeds_shards_are_refused_with_the_command_that_joins_them(tmp_path: Path) -> None:
    (tmp_path / "zero_to_fp32.py").write_text("")
    with pytest.raises(LoadError, match=r"python zero_to_fp32.py . pytorch_model.bin"):
        read_checkpoint(tmp_path)


def test_a_tiny_hub_folder_needs_nothing_else(tmp_path: Path) -> None:
    network = timm.create_model(TINY, num_classes=3)
    said = {"label_names": TINY_LABELS, "pretrained_cfg": {"mean": [0.4, 0.5, 0.6]}}
    save_for_hf(network, str(tmp_path), model_config=said, safe_serialization="both")
    facts = read_checkpoint(tmp_path).facts
    assert (facts.architecture, facts.labels) == (TINY, TINY_LABELS)
    assert facts.transform["mean"] == [0.4, 0.5, 0.6]
    for name in ("model.safetensors", "pytorch_model.bin"):
        assert read_checkpoint(tmp_path / name).facts == facts
