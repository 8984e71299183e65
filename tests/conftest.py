import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from samples import TINY, TINY_LABELS, random_weights, save_checkpoint

from handler.classifier import Classifier
from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe, write_checkpoint

# These machines are slow and shared: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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


@pytest.fixture
def tiny_directory(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """An unpacked archive of a small random model, free to be damaged."""
    target = tmp_path / "tiny.mar"
    build_archive(Recipe(tiny_checkpoint, "tiny"), target)
    with zipfile.ZipFile(target) as mar:
        mar.extractall(tmp_path / "tiny")
    return tmp_path / "tiny"
