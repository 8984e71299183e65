"""Pictures and checkpoints that the tests share."""

import contextlib
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import requests
import skimage
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.server.ports import Ports

Send = Callable[..., requests.Response]  # what the fixture `send` gives

PHOTOS = Path(skimage.__file__).parent / "data"
CHELSEA = (PHOTOS / "chelsea.png").read_bytes()
CATS = ["tiger cat", "Egyptian cat", "tabby"]  # Chelsea's labels, best first
COFFEE = (PHOTOS / "coffee.png").read_bytes()
SHIFT = 7.32  # of the demo's logits, as scripts/build_demo.py prints it
TINY = "test_vit"  # timm's own for tests: 0.4 million weights, 160 x 160 pixels
TINY_LABELS = ["ant", "bee", "cat"]
PATIENCE = 600.0  # seconds of every wait: it ends a test that hangs, and says nothing of how fast anything is


def encode(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """A Pillow image, or pixels [H, W, 3] uint8, as a file's bytes."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chelsea(width: int = 451, kind: str = "JPEG", **options: Any) -> bytes:
    """Chelsea, resized and encoded."""
    image = Image.open(BytesIO(CHELSEA)).convert("RGB")
    return encode(image.resize((width, width * 300 // 451)), kind, **options)


def noise(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def first_free_port(count: int) -> int:
    """Of `count` in a row that nobody listens on now, below those that the system hands to clients: theirs could be
    taken again, or connected to by themselves, before the server stands."""
    while True:
        first = random.randrange(10_000, 32_000 - count)
        with contextlib.suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first


def free_ports() -> Ports:
    """For one server."""
    return Ports.from_first(first_free_port(len(fields(Ports))))


class Counting(torch.nn.Module):
    """Scores by the number of images, as Python sees it: a record keeps that of its example."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 3), float(len(images) % 2))


class Asking(torch.nn.Module):
    """Can't be recorded."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch._C._get_tracing_state() is not None:
            raise TypeError("not under a tracer")
        return images.mean((2, 3))


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns when it holds, and fails if it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)


def random_weights(architecture: str = TINY, classes: int = len(TINY_LABELS), **kwargs: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False, num_classes=classes, **kwargs)
    return dict(network.state_dict())


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> Path:
    torch.save(dict(content), path)
    return path
