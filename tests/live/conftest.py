"""One real TorchServe for all tests in this folder, on free ports and in temporary directories."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from samples import Send, free_ports, random_weights, save_checkpoint

from scripts.archive.manifest import Archive, find_archives
from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe
from scripts.server.torchserve import TorchServe

VIT_LABELS = ["red", "green", "blue", "round", "striped"]
VIT_LIMITS = {"max_images": 2, "max_image_bytes": 100_000, "max_pixels": 1_000_000}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, demo_mar: Path, demo_checkpoint: Path) -> Path:
    """The demo; the demo again, waiting long for its batches to fill; and another architecture of another size, with
    other labels and limits, a fallback and random weights."""
    store = tmp_path_factory.mktemp("store")
    shutil.copy(demo_mar, store)
    patient = replace(demo_recipe(demo_checkpoint), name="patient", torchserve={"batchSize": 8, "maxBatchDelay": 3000})
    build_archive(patient, store / "patient.mar")
    weights = random_weights("vit_tiny_patch16_224", len(VIT_LABELS), img_size=64)
    vit = Recipe(
        save_checkpoint(store.parent / "vit.pt", weights),
        "vit",
        version="2.0",
        architecture="vit_tiny_patch16_224",
        labels=VIT_LABELS,
        thresholds=0.99,
        handler={"model_kwargs": {"img_size": 64}, "fallback": "best_label", "limits": VIT_LIMITS},
    )
    build_archive(vit, store / "vit.mar")
    return store


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    archives = find_archives(store)
    with TorchServe(archives, store, free_ports(), tmp_path_factory.mktemp("logs")) as server:
        server.wait_ready()
        before = [_workers(server, archive) for archive in archives]
        yield server
        assert [_workers(server, archive) for archive in archives] == before, "what the tests sent killed a worker"


def _workers(server: TorchServe, archive: Archive) -> list[tuple[int, str]]:
    described = server.client.describe(archive.name, archive.version)
    return [(worker["pid"], worker["status"]) for worker in described["workers"]]


@pytest.fixture(scope="session")
def send(server: TorchServe) -> Send:
    """POSTs to /predictions/cat-breeds, or to another `path`."""

    def send(path: str = "/predictions/cat-breeds", **arguments: Any) -> requests.Response:
        return requests.post(server.inference + path, timeout=60, **arguments)

    return send
