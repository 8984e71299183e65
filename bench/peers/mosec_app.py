"""mosec, with batches as in its documentation. DECODERS: processes that decode photos for those with the network."""

import os
from io import BytesIO
from typing import Any

import torch
from mosec import Server, Worker
from PIL import Image

from bench.peers.network import answer, load


class Network(Worker):  # type: ignore[misc]
    """[3, H, W] → labels, a batch at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.transform, self.labels, self.thresholds = load()

    @torch.inference_mode()
    def forward(self, images: list[torch.Tensor]) -> list[dict[str, Any]]:
        scores = torch.sigmoid(self.network(torch.stack(images)))
        return [answer(each, self.labels, self.thresholds) for each in scores]


class Decoder(Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.transform = load()[1]

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, payload: bytes) -> torch.Tensor:
        return decode(payload, self.transform)


class Classifier(Network):
    """Decodes its own photos."""

    def deserialize(self, data: bytes) -> torch.Tensor:
        return decode(data, self.transform)


def decode(payload: bytes, transform: Any) -> torch.Tensor:
    with Image.open(BytesIO(payload)) as image:
        return transform(image.convert("RGB"))  # type: ignore[no-any-return]


if __name__ == "__main__":
    server = Server()
    decoders = int(os.environ["DECODERS"])
    if decoders:
        server.append_worker(Decoder, num=decoders, timeout=60, route="/predict")
    server.append_worker(
        Network if decoders else Classifier,
        num=int(os.environ["WORKERS"]),
        max_batch_size=int(os.environ["BATCH"]),
        max_wait_time=5,
        timeout=60,
        route="/predict",
    )
    server.run()
