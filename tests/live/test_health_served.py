"""scripts/health.py asks the real server; tests/scripts/test_health.py has all its answers, from a stub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import with_wrong_golden
from samples import PATIENCE

from scripts.health import main
from scripts.server.torchserve import TorchServe

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(server: TorchServe, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*arguments: str | float | Path) -> tuple[int, str]:
        capsys.readouterr()
        addresses = ["--inference", server.inference, "--management", server.management]
        code = main([*map(str, arguments), *addresses])
        return code, capsys.readouterr().out.strip()

    return ask


@pytest.mark.parametrize("question", ["live", "ready"])
def test_yes(ask: Ask, question: str) -> None:
    assert ask(question) == (0, "healthy")


def test_deep_classifies_the_golden_photos_of_each_model(ask: Ask, store: Path) -> None:
    code, said = ask("deep", "--json", "--timeout", PATIENCE, "--model-store", store)
    assert (code, json.loads(said)["ok"]) == (0, True)


def test_deep_says_what_is_wrong(ask: Ask, demo_mar: Path, tmp_path: Path) -> None:
    question = ("deep", "--expect", "cat-breeds", "--model-store", tmp_path, "--timeout", PATIENCE)
    assert ask(*question) == (
        1,
        f"unhealthy: cat-breeds 1.0: not in {tmp_path}, expected its archive with the golden inputs",
    )
    with_wrong_golden(demo_mar, tmp_path / "cat-breeds.mar", 0.2)
    code, said = ask(*question)
    assert code == 1
    assert said == ("unhealthy: cat-breeds 1.0: chelsea.png: 'tabby' scores 0.7379, expected 0.9379 within 0.01")
    shutil.copy(demo_mar, tmp_path / "cat-breeds.mar")
    late = "unhealthy: cat-breeds 1.0: chelsea.png: no answer within 1e-09 s"
    assert ask(*question, "--timeout", "1e-9") == (1, late)
