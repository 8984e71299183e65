"""A model with faults to order, and what the tests ask of its server."""

import zipfile
from pathlib import Path

import requests
from samples import wait_for

from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

WIDE = 32  # the largest batch of `faulty`
RESPONSE_SIZE = 40_000  # bytes of a batch's answers
QUEUE = 8  # requests that may wait for `narrow`
JAVA_MEMORY = 128 * 2**20  # bytes of its heap, and as many beside it for Netty's buffers


def build_faulty(recipe: Recipe, target: Path) -> None:
    """An archive as any other, but for what tests/faults/injected.py adds to its adapter."""
    sound = target.with_suffix(".sound")
    build_archive(recipe, sound)
    faults = (ROOT / "tests" / "faults" / "injected.py").read_bytes()
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (faults if name == "adapter.py" else b""))
    sound.unlink()


def worker(server: TorchServe, model: str = "faulty") -> int:
    """The process of a model's one worker."""
    return int(server.client.describe(model)["workers"][0]["pid"])


def wait_for_another_worker(server: TorchServe, before: int, model: str = "faulty") -> None:
    """Until a worker is READY that is not the one with this process. TorchServe calls a dead one READY for a moment."""
    [archive] = [each for each in server.archives if each.name == model]
    wait_for(lambda: server.ready(archive) and worker(server, model) != before)


def classify(server: TorchServe, photo: bytes, model: str = "faulty") -> requests.Response:
    return requests.post(f"{server.inference}/predictions/{model}", data=photo, timeout=120)
