"""BentoML, with adaptive batches as in its documentation where BATCH is above 1. An answer is a list of one."""

import os
from typing import Any

import bentoml
import torch
from PIL.Image import Image

from bench.peers.network import answer, load

BATCH = int(os.environ["BATCH"])


@bentoml.service(
    workers=int(os.environ["WORKERS"]),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
)
class Classifier:
    def __init__(self) -> None:
        self.network, self.transform, self.labels, self.thresholds = load()

    @bentoml.api(batchable=BATCH > 1, max_batch_size=max(BATCH, 2), max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    @torch.inference_mode()
    def predict(self, image: list[Image]) -> list[dict[str, Any]]:
        batch = torch.stack([self.transform(each.convert("RGB")) for each in image])
        return [answer(scores, self.labels, self.thresholds) for scores in torch.sigmoid(self.network(batch))]
