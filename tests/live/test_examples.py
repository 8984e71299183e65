"""The clients in examples/, each run by its own command against the real server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from samples import CATS, CHELSEA, COFFEE

from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

EXAMPLES = ROOT / "examples"
NODE = shutil.which("node")
PRINTING = [
    pytest.param([sys.executable, str(EXAMPLES / "client.py")], id="python"),
    pytest.param(
        [str(NODE), str(EXAMPLES / "client.mjs")],
        id="javascript",
        marks=pytest.mark.skipif(NODE is None, reason="node is not installed"),
    ),
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(CHELSEA)
    (tmp_path / "coffee, black; hot.png").write_bytes(COFFEE)
    (tmp_path / "note.txt").write_text("not a photo")
    return tmp_path


def _run(
    server: TorchServe, photos: Path, command: list[str], *names: str, model: str = "cat-breeds"
) -> subprocess.CompletedProcess[str]:
    # The proxy leads nowhere: a client that used it would get no answer.
    url = f"{server.inference}/predictions/{model}"
    environment = os.environ | {"CLASSIFIER_URL": url, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    return subprocess.run(
        [*command, *names], cwd=photos, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", PRINTING)
def test_labels_are_printed_photo_by_photo(server: TorchServe, photos: Path, command: list[str]) -> None:
    done = _run(server, photos, command, "cat.png", "coffee, black; hot.png")
    assert done.returncode == 0, done.stderr
    cat, coffee = done.stdout.splitlines()
    assert cat == "cat.png: tiger cat 0.869, Egyptian cat 0.858, tabby 0.738"
    assert coffee == "coffee, black; hot.png: no label"


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.parametrize("names", [["note.txt"], ["cat.png", "note.txt"]])
def test_a_file_that_is_no_photo_is_named(
    server: TorchServe, photos: Path, command: list[str], names: list[str]
) -> None:
    done = _run(server, photos, command, *names)
    assert done.returncode == 1
    assert done.stderr.startswith("note.txt: not_an_image: ")
    assert ("cat.png: tiger cat" in done.stdout) == ("cat.png" in names)


@pytest.mark.parametrize("command", PRINTING)
def test_an_answer_of_torchserves_own_is_shown(server: TorchServe, photos: Path, command: list[str]) -> None:
    done = _run(server, photos, command, "cat.png", model="no-such-model")
    assert done.returncode == 1
    assert "404" in done.stderr


def test_curl(server: TorchServe, photos: Path) -> None:
    command = [str(EXAMPLES / "client.sh")]
    done = _run(server, photos, command, "cat.png", "coffee, black; hot.png", "note.txt")
    assert done.returncode == 0, done.stderr
    cat, coffee, note = json.loads(done.stdout)["predictions"]
    assert [label["name"] for label in cat["labels"]] == CATS
    assert coffee["fallback"] is True
    assert note["error"]["code"] == "not_an_image"
    done = _run(server, photos, command, "note.txt")
    assert done.returncode == 22
    assert json.loads(done.stdout)["error"]["code"] == "not_an_image"
