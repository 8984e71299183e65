"""A model with faults to order, and what the tests ask of its server."""

from pathlib import Path
from typing import Any

import requests
from archives import edited, renamed
from samples import PATIENCE, wait_for

from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

WIDE = 32  # the largest batch of `faulty`
RESPONSE_SIZE = 40_000  # bytes of a batch's answers
QUEUE = 8  # requests that may wait for `narrow`
JAVA_MEMORY = 128 * 2**20  # bytes of its heap, and as many beside it for Netty's buffers


def make_faulty(sound: Path, target: Path, name: str, **torchserve: Any) -> None:
    """The sound archive under another name, with what tests/faults/injected.py adds to its adapter."""
    faults = (ROOT / "tests" / "faults" / "injected.py").read_bytes()
    other = renamed(sound, target.with_suffix(".sound"), name, **torchserve)
    edited(other, target, lambda file, content: content + faults if file == "adapter.py" else content)
    other.unlink()


def worker(server: TorchServe, model: str = "faulty") -> int:
    """The process of a model's one worker."""
    return int(server.client.describe(model)["workers"][0]["pid"])


def wait_for_another_worker(server: TorchServe, before: int, model: str = "faulty") -> None:
    """Until a worker is READY that is not the one with this process. TorchServe calls a dead one READY for a moment."""
    [archive] = [each for each in server.archives if each.name == model]
    wait_for(lambda: server.ready(archive) and worker(server, model) != before)


def classify(server: TorchServe, photo: bytes, model: str = "faulty") -> requests.Response:
    return requests.post(f"{server.inference}/predictions/{model}", data=photo, timeout=PATIENCE)
