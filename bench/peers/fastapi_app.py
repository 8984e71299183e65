"""FastAPI and timm: a pool of threads decodes photos, and one forward pass runs at a time, so that no two share the
cores."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Request
from PIL import Image, UnidentifiedImageError

from bench.peers.network import answer, load

app = FastAPI()
network, transform, labels, thresholds = load()
decoders = ThreadPoolExecutor(int(os.environ["THREADS"]))
device = ThreadPoolExecutor(1)


def decode(payload: bytes) -> torch.Tensor:
    with Image.open(BytesIO(payload)) as image:
        return transform(image.convert("RGB"))  # type: ignore[no-any-return]


@torch.inference_mode()
def infer(image: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(network(image[None]))[0]


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    payload = await request.body()
    loop = asyncio.get_running_loop()
    try:
        image = await loop.run_in_executor(decoders, decode, payload)
    except (UnidentifiedImageError, OSError):
        raise HTTPException(422, "not an image") from None
    return answer(await loop.run_in_executor(device, infer, image), labels, thresholds)
