"""Ray Serve on one machine, with batches as in its documentation. A replica decodes photos in threads."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import ray
import torch
from PIL import Image
from ray import serve
from starlette.requests import Request

from bench.peers.network import answer, load

THREADS, WORKERS, BATCH = (int(os.environ[name]) for name in ("THREADS", "WORKERS", "BATCH"))
NEVER = 1_000_000.0  # seconds: bench/run.py pauses all processes for longer than a check of their health may take


@serve.deployment(
    num_replicas=WORKERS,
    ray_actor_options={"num_cpus": THREADS},
    max_ongoing_requests=16,
    logging_config={"enable_access_log": False},
    health_check_period_s=NEVER,
    health_check_timeout_s=NEVER,
)
class Classifier:
    def __init__(self) -> None:
        self.network, self.transform, self.labels, self.thresholds = load()
        self.decoders, self.device = ThreadPoolExecutor(THREADS), ThreadPoolExecutor(1)

    async def __call__(self, request: Request) -> dict[str, Any]:
        payload = await request.body()
        image = await asyncio.get_running_loop().run_in_executor(self.decoders, self.decode, payload)
        return answer(await self.infer(image), self.labels, self.thresholds)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005)  # type: ignore[untyped-decorator]
    async def infer(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        return await asyncio.get_running_loop().run_in_executor(self.device, self.forward, images)

    def decode(self, payload: bytes) -> torch.Tensor:
        with Image.open(BytesIO(payload)) as image:
            return self.transform(image.convert("RGB"))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def forward(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(torch.sigmoid(self.network(torch.stack(images))))


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=THREADS * WORKERS,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        _temp_dir=os.environ["HOME"],
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])}, logging_config={"enable_access_log": False}
    )
    serve.run(Classifier.bind(), route_prefix="/predict")  # type: ignore[attr-defined]  # by the decorator
    signal.sigwait([signal.SIGTERM])
    ray.shutdown()
