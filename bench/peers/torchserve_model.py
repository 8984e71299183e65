"""The network for TorchServe's own image_classifier, which loads the only class in this file."""

import timm
import torch


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("tf_efficientnet_lite0", num_classes=13)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)  # type: ignore[no-any-return]
