"""A network compiled ahead: the same scores, and nothing that it wasn't compiled for."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from samples import encode, free_ports, noise

from handler.classifier import Classifier
from handler.compiled import COMPILED_FILE, NETWORK_FILE
from handler.errors import LoadError
from handler.model import Model, create_network
from handler.settings import read_settings
from scripts.archive.compiler import compile_network
from scripts.archive.manifest import read_archive
from scripts.archive.recipe import Recipe
from scripts.archive.unpacking import unpacked
from scripts.archive.variant import write_variant
from scripts.build_archive import build_archive
from scripts.server.torchserve import TorchServe

CPU = torch.device("cpu")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")]


@pytest.fixture(scope="module")
def compiled_mar(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compiled")
    build_archive(Recipe(tiny_checkpoint, "tiny"), directory / "tiny.mar")
    write_variant(directory / "tiny.mar", directory / "compiled.mar", {"engine": "compiled"}, {"batchSize": 4})
    return directory / "compiled.mar"


@pytest.fixture
def directory(compiled_mar: Path, tmp_path: Path) -> Path:
    """Unpacked, free to be damaged."""
    with zipfile.ZipFile(compiled_mar) as mar:
        mar.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("threads", [1, 2])
def test_scores_are_those_of_the_network_for_any_batch(directory: Path, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain, compiled = (Classifier.load(directory, CPU, engine=engine) for engine in ("eager", "compiled"))
        example = plain.example(9)
        for images in (1, 2, 4, 9):
            expected = plain.model.scores(example[:images])
            np.testing.assert_allclose(compiled.model.scores(example[:images]), expected, atol=1e-5)
    finally:
        torch.set_num_threads(before)


def test_it_is_served(compiled_mar: Path, tmp_path: Path) -> None:
    archive = read_archive(compiled_mar)
    with TorchServe([archive], compiled_mar.parent, free_ports(), tmp_path) as server:
        server.wait_ready()
        answer = requests.post(f"{server.inference}/predictions/tiny", data=encode(noise()), timeout=60)
        described = server.client.details("tiny", "1.0")
    assert len(answer.json()["top_k"]) == 3
    assert described["speed"]["engine"] == "compiled"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("torch", "2.4.0", "torch: 2.4.0, but here it is "),
        ("precision", "bfloat16", "precision: bfloat16, but here it is float32, expected handler.engine: frozen"),
        ("image", "uint8 [96, 96, 3]", r"image: uint8 \[96, 96, 3\], but here it is uint8 \[160, 160, 3\]"),
        ("weights_sha256", "0" * 64, "weights_sha256: 0000.* or scripts/tune.py run here"),
        ("instructions", ["avx512_of_tomorrow"], "instructions: this processor lacks avx512_of_tomorrow"),
        ("instructions", None, "instructions: None, but here it is"),
    ],
)
def test_for_something_else_it_is_refused(directory: Path, key: str, value: Any, message: str) -> None:
    path = directory / COMPILED_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(LoadError, match=f"{COMPILED_FILE}: {message}"):
        Classifier.load(directory, CPU)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda directory: (directory / COMPILED_FILE).unlink(), "network.json: missing, expected what the network"),
        (lambda directory: (directory / COMPILED_FILE).write_text("[]"), "network.json: expected a JSON object"),
        (lambda directory: (directory / NETWORK_FILE).unlink(), "network.so: can't be loaded: .*network.so"),
        (lambda directory: (directory / NETWORK_FILE).write_bytes(b"no"), "network.so: can't be loaded: .*too short"),
    ],
)
def test_missing_or_damaged(directory: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(directory)
    with pytest.raises(LoadError, match=message):
        Classifier.load(directory, CPU)


def test_not_on_a_gpu(directory: Path) -> None:
    model = Model(create_network("test_vit", 3, {}, "here"), CPU, torch.nn.Identity())
    model.device = torch.device("meta")  # stands for any other
    with pytest.raises(LoadError, match=r"handler: engine: compiled, on meta, expected frozen: it runs on cpu alone"):
        model.use("compiled", np.zeros((1, 2)), 0.01, "handler", directory)


def test_other_settings_keep_the_network_and_another_engine_drops_it(compiled_mar: Path, tmp_path: Path) -> None:
    write_variant(compiled_mar, tmp_path / "kept.mar", {"top_k": 2}, {})
    write_variant(compiled_mar, tmp_path / "dropped.mar", {"engine": "frozen"}, {})
    with unpacked(compiled_mar) as old, unpacked(tmp_path / "kept.mar") as kept:
        assert read_settings(kept).top_k == 2
        for name in (NETWORK_FILE, COMPILED_FILE):
            assert (kept / name).read_bytes() == (old / name).read_bytes()
    with unpacked(tmp_path / "dropped.mar") as dropped:
        assert not [name for name in (NETWORK_FILE, COMPILED_FILE) if (dropped / name).exists()]


def test_without_a_compiler_it_says_so(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(LoadError, match=r"network.so: can't be compiled: .*no-such-compiler"):
        compile_network(tiny_directory, "float32")
