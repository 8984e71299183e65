"""The demo's network and timm's own transform, for every peer."""

import os
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

ARCHITECTURE = "tf_efficientnet_lite0"


def load() -> tuple[torch.nn.Module, Any, list[str], torch.Tensor]:
    """The network, its transform, the labels and their thresholds [C], from the checkpoint at $CHECKPOINT."""
    content = torch.load(os.environ["CHECKPOINT"], map_location="cpu", weights_only=True)
    network = timm.create_model(ARCHITECTURE, num_classes=len(content["class_names"]))
    network.load_state_dict(content["model_state_dict"])
    transform = create_transform(**resolve_model_data_config(network), is_training=False)  # type: ignore[no-untyped-call]
    thresholds = torch.tensor([content["thresholds"][name] for name in content["class_names"]])
    torch.set_num_threads(int(os.environ["THREADS"]))
    return network.eval(), transform, content["class_names"], thresholds


def answer(scores: torch.Tensor, labels: list[str], thresholds: torch.Tensor) -> dict[str, Any]:
    """scores: [C]."""
    fired = (scores >= thresholds).nonzero().flatten().tolist()
    return {"labels": [{"name": labels[index], "score": round(float(scores[index]), 4)} for index in fired]}
