"""The three questions, to a stub that answers what the tests say; tests/live/test_health_served.py asks a server."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports
from stub import TorchServeStub, register

from scripts.health import main


def _ask(stub: Any, *arguments: str) -> int:
    return main([*arguments, "--inference", stub.url, "--management", stub.url, "--keys", "none.json"])


def test_live_is_any_answer_of_java(stub: type[TorchServeStub], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ask(stub, "live") == 0
    assert capsys.readouterr().out == "healthy\n"
    stub.answers["/ping"] = {"status": "Unhealthy"}
    assert _ask(stub, "live") == 0
    register(stub, "cats", "READY")
    assert _ask(stub, "ready") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "unhealthy: /ping says Unhealthy"


def test_ready_is_the_default_question(stub: type[TorchServeStub], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ask(stub) == 1
    assert capsys.readouterr().out == "unhealthy: no model is registered\n"
    register(stub, "cats", "READY")
    assert _ask(stub) == 0


def test_expected_models_must_be_there_and_others_need_not(
    stub: type[TorchServeStub], capsys: pytest.CaptureFixture[str]
) -> None:
    register(stub, "cats", "READY")
    register(stub, "dogs", "UNLOADING")
    assert _ask(stub, "ready", "--expect", "cats") == 0
    assert _ask(stub, "ready", "--expect", "cats", "--expect", "birds") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "unhealthy: birds: not registered"
    assert _ask(stub, "ready") == 1


def test_json_is_one_line(stub: type[TorchServeStub], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ask(stub, "ready", "--json") == 1
    [line] = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert said.pop("seconds") >= 0
    assert said == {"question": "ready", "ok": False, "reason": "no model is registered"}


def test_deep_compares_nothing_where_an_archive_rightly_has_no_golden_inputs(
    stub: type[TorchServeStub], bare_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def deep() -> tuple[int, str]:
        with zipfile.ZipFile(tmp_path / "tiny.mar", "w") as mar:
            for path in sorted(bare_directory.rglob("*")):
                mar.write(path, path.relative_to(bare_directory))
        code = _ask(stub, "deep", "--model-store", str(tmp_path))
        return code, capsys.readouterr().out

    register(stub, "tiny", "READY")
    (tmp_path / "half.mar").write_bytes(b"PK")  # which a lenient server skips
    assert deep() == (0, "healthy\n")
    config = bare_directory / "model-config.yaml"
    config.write_text(config.read_text().replace("self_check: false", "self_check: true"))
    code, said = deep()
    assert code == 1
    assert "golden.json: missing" in said, "an archive that should have them"


@pytest.mark.parametrize("question", ["live", "ready", "deep"])
def test_nobody_answers(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    assert main([question, "--inference", nobody, "--management", nobody]) == 1
    assert capsys.readouterr().out == "unhealthy: /models?limit=1000: no answer (ConnectionError)\n"


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["alive"])
    assert ended.value.code == 2


def test_addresses_come_from_flags_then_environment_then_config(
    stub: type[TorchServeStub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    monkeypatch.setenv("TS_MANAGEMENT_ADDRESS", nobody)
    assert main(["live"]) == 1
    monkeypatch.setenv("TORCHSERVE_INFERENCE", stub.url)
    monkeypatch.setenv("TORCHSERVE_MANAGEMENT", stub.url)
    assert main(["live"]) == 0
    assert main(["live", "--management", nobody]) == 1
    monkeypatch.delenv("TORCHSERVE_MANAGEMENT")
    monkeypatch.setenv("TS_MANAGEMENT_ADDRESS", "here")
    assert main(["live"]) == 1
    assert "management_address: here, expected http://HOST:PORT" in capsys.readouterr().out
