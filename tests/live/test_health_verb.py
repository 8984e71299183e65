"""scripts/health.py asks the real server."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.health import main
from scripts.server.torchserve import TorchServe

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(server: TorchServe, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        addresses = ["--inference", server.inference, "--management", server.management]
        code = main([*map(str, arguments), *addresses])
        return code, capsys.readouterr().out.strip()

    return ask


@pytest.mark.parametrize("question", ["live", "ready"])
def test_yes(ask: Ask, question: str) -> None:
    assert ask(question) == (0, "healthy")


def test_deep_classifies_the_golden_photos_of_each_model(ask: Ask, store: Path) -> None:
    code, said = ask("deep", "--json", "--timeout", "60", "--model-store", store)
    assert (code, json.loads(said)["ok"]) == (0, True)


def test_deep_says_what_is_wrong(ask: Ask, demo_mar: Path, tmp_path: Path) -> None:
    question = ("deep", "--expect", "cat-breeds", "--model-store", tmp_path)
    assert ask(*question) == (
        1,
        f"unhealthy: cat-breeds 1.0: not in {tmp_path}, expected its archive with the golden images",
    )
    with zipfile.ZipFile(demo_mar) as old, zipfile.ZipFile(tmp_path / "cat-breeds.mar", "w") as other:
        for name in old.namelist():
            content = old.read(name)
            other.writestr(name, content.replace(b"0.7379", b"0.9379") if name == "golden.json" else content)
    code, said = ask(*question)
    assert code == 1
    assert said == ("unhealthy: cat-breeds 1.0: chelsea.png: 'tabby' scores 0.7379, expected 0.9379 within 0.01")
    shutil.copy(demo_mar, tmp_path / "cat-breeds.mar")
    code, said = ask(*question, "--timeout", "0.001")
    assert code == 1
    assert said.startswith("unhealthy: cat-breeds 1.0: chelsea.png: ")
    assert "no answer" in said
