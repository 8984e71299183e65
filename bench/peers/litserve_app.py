"""LitServe, with batches as in its documentation."""

import os
from typing import Any

import litserve as ls
import torch
from litserve.utils import configure_logging
from PIL import Image
from starlette.requests import Request

from bench.peers.network import answer, load


class Classifier(ls.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:  # noqa: ARG002  (LitServe passes it)
        self.network, self.transform, self.labels, self.thresholds = load()

    def decode_request(self, request: Request) -> torch.Tensor:
        with Image.open(request["image"].file) as image:
            return self.transform(image.convert("RGB"))  # type: ignore[no-any-return]

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(inputs))

    @torch.inference_mode()
    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.network(batch))

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        return answer(output, self.labels, self.thresholds)


if __name__ == "__main__":
    configure_logging("WARNING")
    api = Classifier(max_batch_size=int(os.environ["BATCH"]), batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(port=int(os.environ["PORT"]), host="127.0.0.1", generate_client_file=False, log_level="warning")
