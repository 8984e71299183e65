"""Archives that other people built or damaged, to the real server."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import pytest
import requests
import yaml
from albumentations.pytorch import ToTensorV2
from archives import renamed
from safetensors.torch import save_file
from samples import CHELSEA, PATIENCE, TINY, TINY_LABELS, Send, random_weights

from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe


def _register(server: TorchServe, archive: str) -> requests.Response:
    asked = {"url": archive, "initial_workers": "1", "synchronous": "true"}
    return requests.post(f"{server.management}/models", params=asked, timeout=PATIENCE)


def _unregister(server: TorchServe, model: str) -> None:
    requests.delete(f"{server.management}/models/{model}", timeout=PATIENCE)


def test_a_plain_torch_model_archiver_archive(server: TorchServe, store: Path, tmp_path: Path) -> None:
    """docs/packaging.md's way without build_archive: files by hand, and no golden inputs."""
    files = tmp_path / "files"
    shutil.copytree(ROOT / "handler", files / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    save_file({name: tensor.contiguous() for name, tensor in random_weights().items()}, tmp_path / "model.safetensors")
    config = {"minWorkers": 1, "maxWorkers": 1, "handler": {"architecture": TINY, "self_check": False}}
    (tmp_path / "model-config.yaml").write_text(yaml.safe_dump(config))
    (files / "index_to_name.json").write_text(json.dumps({str(i): name for i, name in enumerate(TINY_LABELS)}))
    (files / "thresholds.json").write_text("0.5")
    A.save(A.Compose([A.Resize(160, 160), A.Normalize(), ToTensorV2()]), files / "preprocessing.json")
    command = [
        *(str(Path(sys.executable).parent / "torch-model-archiver"), "--model-name", "plain", "--version", "1.0"),
        *("--handler", str(files / "handler" / "adapter.py"), "--serialized-file", str(tmp_path / "model.safetensors")),
        *("--config-file", str(tmp_path / "model-config.yaml"), "--extra-files", str(files)),
        *("--export-path", str(store)),
    ]
    (tmp_path / "tmp").mkdir()
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    try:
        assert _register(server, "plain.mar").status_code == 200
        answer = requests.post(f"{server.inference}/predictions/plain", data=CHELSEA, timeout=PATIENCE).json()
        assert {label["name"] for label in answer["top_k"]} == set(TINY_LABELS)
        assert re.fullmatch("[0-9a-f]{64}", answer["model"]["sha256"])
    finally:
        (store / "plain.mar").unlink(missing_ok=True)
        _unregister(server, "plain")


def test_models_come_from_the_store_alone(server: TorchServe, store: Path, demo_mar: Path) -> None:
    outside = shutil.copy(demo_mar, store.parent / "outside.mar")
    for url in (f"file://{outside}", str(outside), "../outside.mar", "http://127.0.0.1:9/outside.mar"):
        response = _register(server, url)
        assert response.status_code in (400, 404), url
    assert _register(server, "outside.mar").status_code == 404


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("cut", lambda content: content[: len(content) // 2]),
        ("bent", lambda content: content[:7_000_000] + bytes(1000) + content[7_001_000:]),
        ("nothing", lambda content: b""),
    ],
)
def test_torchserve_itself_survives_a_broken_archive(
    server: TorchServe, send: Send, store: Path, demo_mar: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    """scripts/manage_models.py would not have let it come so far."""
    before = server.client.models()
    (store / f"{name}.mar").write_bytes(spoil(demo_mar.read_bytes()))
    try:
        assert _register(server, f"{name}.mar").status_code >= 400
    finally:
        (store / f"{name}.mar").unlink()
    assert server.client.models() == before
    assert send(data=CHELSEA).status_code == 200


def test_torchserve_itself_lets_no_archive_write_outside(server: TorchServe, store: Path, tiny_mar: Path) -> None:
    climbed = f"climbed-{uuid.uuid4().hex}"
    renamed(tiny_mar, store / "climbing.mar", "climb-cats")
    with zipfile.ZipFile(store / "climbing.mar", "a") as mar:
        mar.writestr(f"../../{climbed}", b"")
    try:
        _register(server, "climbing.mar")
        # Other processes make and remove directories there meanwhile, which os.walk passes over.
        assert not [place for place, _, files in os.walk(tempfile.gettempdir()) if climbed in files]
    finally:
        (store / "climbing.mar").unlink()
        _unregister(server, "climb-cats")
