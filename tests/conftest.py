"""What tests of several folders share: models, archives, and one running TorchServe. Nothing here is to be changed by a
test, but for `tiny_directory`; whoever registers a model unregisters it again."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: its threads then sleep while they wait, and leave the cores to the servers under test.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# One worker a model, where a test doesn't want more: most ask what is answered, and each takes a core to start.
os.environ.setdefault("TS_DEFAULT_WORKERS_PER_MODEL", "1")

import pytest
import requests
import torch
from hypothesis import HealthCheck, settings
from interruption import end_in_order_on_sigterm
from samples import PATIENCE, TINY, TINY_LABELS, Send, free_ports, random_weights, save_checkpoint

from handler.classifier import Classifier
from scripts.archive.manifest import Archive, find_archives
from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe, write_checkpoint
from scripts.server.torchserve import TorchServe

# These machines are slow and shared: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

VIT_LABELS = ["red", "green", "blue", "round", "striped"]
VIT_LIMITS = {"max_images": 2, "max_image_bytes": 100_000, "max_pixels": 1_000_000}


def pytest_sessionstart(session: pytest.Session) -> None:
    end_in_order_on_sigterm(session)


@pytest.fixture(scope="session")
def demo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "best_model.pt"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def demo_mar(demo_checkpoint: Path) -> Path:
    target = demo_checkpoint.parent / "cat-breeds.mar"
    build_archive(demo_recipe(demo_checkpoint), target)
    return target


@pytest.fixture(scope="session")
def demo_directory(demo_mar: Path) -> Path:
    directory = demo_mar.parent / "unpacked"
    with zipfile.ZipFile(demo_mar) as mar:
        mar.extractall(directory)
    return directory


@pytest.fixture(scope="session")
def demo(demo_directory: Path) -> Classifier:
    return Classifier.load(demo_directory, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = {
        "state_dict": random_weights(),
        "class_names": TINY_LABELS,
        "thresholds": {"ant": 0.4, "bee": 0.5, "cat": 0.6},
        "config": {"architecture": TINY},
    }
    return save_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.pt", content)


@pytest.fixture(scope="session")
def tiny_mar(tiny_checkpoint: Path) -> Path:
    """An archive of a small random model, built in a second and loaded in less than the demo."""
    target = tiny_checkpoint.parent / "tiny.mar"
    build_archive(Recipe(tiny_checkpoint, "tiny"), target)
    return target


@pytest.fixture
def tiny_directory(tiny_mar: Path, tmp_path: Path) -> Path:
    """The same unpacked, free to be damaged."""
    with zipfile.ZipFile(tiny_mar) as mar:
        mar.extractall(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, demo_mar: Path) -> Path:
    """The model store of `server`: the demo; and another architecture of another size, with other labels and limits, a
    fallback and random weights."""
    store = tmp_path_factory.mktemp("store")
    shutil.copy(demo_mar, store)
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
    """The one TorchServe of all tests that only ask, or that register models of names of their own."""
    archives = find_archives(store)
    with TorchServe(archives, store, free_ports(), tmp_path_factory.mktemp("logs")) as server:
        server.wait_ready(PATIENCE)
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
        return requests.post(server.inference + path, timeout=PATIENCE, **arguments)

    return send
