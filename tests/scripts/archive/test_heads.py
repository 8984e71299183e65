"""Heads that training put in the place of an architecture's last layer. What is packaged scores as the trained
network."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from samples import CHELSEA, TINY_LABELS, save_checkpoint
from synthetic import EAGER
from torch.nn import BatchNorm1d, Dropout, Linear, ReLU, Sequential

from handler.classifier import Classifier
from handler.decode import decode
from handler.errors import LoadError
from handler.settings import Limits
from scripts.archive.ingredients import gather
from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive

RESNET = "test_resnet"
WIDTH = 96  # of its features


class Own(torch.nn.Module):
    """A backbone with a head beside it."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = timm.create_model(RESNET, num_classes=0)
        self.head = head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))  # type: ignore[no-any-return]


def _with_fc(layer: torch.nn.Module, **kwargs: Any) -> torch.nn.Module:
    network = timm.create_model(RESNET, num_classes=3, **kwargs)
    network.fc = layer
    return network


def _mlp() -> Sequential:
    return Sequential(Linear(WIDTH, 16), BatchNorm1d(16), ReLU(), Dropout(0.5), Linear(16, 3))


LAYERS = ["linear", "batch_norm", "relu", "dropout", "linear"]


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (lambda: _with_fc(Sequential(Dropout(0.5), Linear(WIDTH, 3))), []),
        (lambda: _with_fc(Sequential(Dropout(0.5), Linear(WIDTH, 3, bias=False))), []),
        (lambda: Own(Linear(WIDTH, 3)), []),
        (lambda: Own(Sequential(Dropout(0.5), Linear(WIDTH, 3))), []),
        (lambda: timm.create_model(RESNET, num_classes=3, global_pool="catavgmax", drop_rate=0.3), []),
        (lambda: _with_fc(_mlp()), LAYERS),
        (lambda: Own(_mlp()), LAYERS),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_head_is_packaged(tmp_path: Path, network: Any, layers: list[str], prefix: str) -> None:
    torch.manual_seed(0)
    trained: torch.nn.Module = network().eval()
    weights = {prefix + name: tensor for name, tensor in trained.state_dict().items()}
    beside = {"criterion.pos_weight": torch.ones(3)} if prefix else {}
    path = save_checkpoint(tmp_path / "best.ckpt", {"state_dict": weights | beside})
    recipe = Recipe(path, "tiny", architecture=RESNET, labels=TINY_LABELS, handler={**EAGER, "head": layers})
    build_archive(recipe, tmp_path / "tiny.mar")
    with zipfile.ZipFile(tmp_path / "tiny.mar") as mar:
        mar.extractall(tmp_path / "unpacked")
    classifier = Classifier.load(tmp_path / "unpacked", torch.device("cpu"))
    [scores] = classifier.classify([CHELSEA])
    assert isinstance(scores, np.ndarray)
    image = classifier.pipeline(decode(CHELSEA, Limits()))
    with torch.inference_mode():
        np.testing.assert_allclose(scores, trained(image[None])[0].sigmoid(), atol=1e-5)


def _gather(directory: Path, network: torch.nn.Module, **handler: Any) -> None:
    path = save_checkpoint(directory / "best.pt", {"state_dict": network.state_dict()})
    gather(Recipe(path, "tiny", architecture=RESNET, labels=TINY_LABELS, handler=handler))


@pytest.mark.parametrize(
    ("network", "layers", "message"),
    [
        (
            lambda: _with_fc(_mlp()),
            [],
            r"fc: a head of its own with 0.weight \[16, 96\], .* expected what stands between them too, as handler: ",
        ),
        (lambda: Own(_mlp()), [], r"head: a head of its own with 0.weight \[16, 96\]"),
        (lambda: _with_fc(_mlp()), ["linear", "relu", "linear"], "fc: has 0.weight .* place by place, in handler.head"),
        (lambda: _with_fc(_mlp()), [*LAYERS[:-1], "conv"], "head: conv, expected one of linear"),
        (
            lambda: _with_fc(_mlp()),
            ["batch_norm", "linear", "relu", "dropout", "linear"],
            r"head: batch_norm: fc.0 has a weight of shape \[16, 96\], expected one of 1 dimensions",
        ),
        (lambda: _with_fc(Sequential(Dropout(), Linear(WIDTH, 4))), [], "3 labels, expected 4: the rows of fc"),
        (lambda: timm.create_model(RESNET, num_classes=4), [], "3 labels, expected 4: the rows of fc.weight"),
        (lambda: timm.create_model(RESNET, num_classes=3), ["linear"], r"no head of \['linear'\]"),
        (lambda: timm.create_model(RESNET, num_classes=3, in_chans=1), [], r"1 channels \(in_chans\), expected 3"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_to_write(
    tmp_path: Path, network: Any, layers: list[str], message: str
) -> None:
    with pytest.raises(LoadError, match=message):
        _gather(tmp_path, network(), head=layers)


def test_images_of_one_channel_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="in_chans: 1, expected 3"):
        _gather(tmp_path, timm.create_model(RESNET, num_classes=3), model_kwargs={"in_chans": 1})


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "cache_dir", "scriptable", "num_classes"])
def test_arguments_that_load_or_fetch_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(LoadError, match=f"model_kwargs: {key}: loads, fetches"):
        _gather(tmp_path, timm.create_model(RESNET, num_classes=3), model_kwargs={key: str(tmp_path / "best.pt")})
