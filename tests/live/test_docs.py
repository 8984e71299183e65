"""What README and docs show is run as it stands there, but for ports and file names."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType

import pytest
from samples import CHELSEA, COFFEE, PATIENCE

from handler.server_settings import ServerSettings
from handler.settings import Limits, Settings
from scripts import calibrate, evaluate, inspect_checkpoint, score
from scripts.build_archive import _parser
from scripts.health import QUESTIONS
from scripts.manage_models import _parser as manage_parser
from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
QUALITY = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
PACKAGING = (ROOT / "docs" / "packaging.md").read_text(encoding="utf-8")

URL = "URL=http://127.0.0.1:8080/predictions/cat-breeds"
CURLS = re.findall(r"^curl .*?(?=\s+#|$)", README, re.M) + re.findall(r"`(curl [^`]*(?:\$URL|http)[^`]*)`", API)


def test_there_are_commands_to_run() -> None:
    assert len(CURLS) >= 8
    assert URL in README
    assert URL in API


@pytest.mark.parametrize("command", CURLS)
def test_curl(server: TorchServe, tmp_path: Path, command: str) -> None:
    for name in ("cat.jpg", "a.jpg"):
        (tmp_path / name).write_bytes(CHELSEA)
    (tmp_path / "b.jpg").write_bytes(COFFEE)
    script = f"{URL}\n{command} -sS --fail-with-body"
    script = script.replace("127.0.0.1:8080", f"127.0.0.1:{server.ports.inference}")
    script = script.replace("127.0.0.1:8081", f"127.0.0.1:{server.ports.management}")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in json.loads(done.stdout)


def _pages() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in ("docs", "examples", "model_store"):
        yield from (ROOT / folder).rglob("*.md")


def test_links_lead_somewhere() -> None:
    for page in _pages():
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text) + re.findall(r"`(docs/\w+\.md)`", text):
            assert (page.parent / target).exists() or (ROOT / target).exists(), f"{page.name}: {target}"


def test_every_flag_of_build_archive_that_docs_name_exists() -> None:
    known = {flag for action in _parser()._actions for flag in action.option_strings}
    shown = re.findall(r"scripts/build_archive\.py(.*(?:\\\n.*)*)", README + PACKAGING)
    assert shown
    for flag in re.findall(r"--[a-z-]+", " ".join(shown)):
        assert flag in known


@pytest.mark.parametrize("script", [score, calibrate, evaluate, inspect_checkpoint])
def test_every_flag_that_the_docs_of_quality_name_exists(script: ModuleType) -> None:
    name = script.__name__.rsplit(".", 1)[-1]
    known = {flag for action in script._parser()._actions for flag in action.option_strings}
    shown = re.findall(rf"scripts/{name}\.py(.*(?:\\\n.*)*)", README + QUALITY)
    assert shown
    for flag in re.findall(r"--[a-z-]+", " ".join(shown)):
        assert flag in known


def test_every_script_that_docs_name_exists() -> None:
    for page in _pages():
        if page.name == "CHANGELOG.md":  # which names what is gone
            continue
        named = r"(?<![\w/])(?:scripts|bench|image|deploy|examples)/\w+\.(?:py|sh|mjs|cfg|yml|json)\b"
        for script in re.findall(named, page.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), f"{page.name}: {script}"


def test_each_verb_of_manage_models_is_documented() -> None:
    [verbs] = [action for action in manage_parser()._actions if isinstance(action.choices, dict)]
    documented = re.findall(r"^\| `([a-z]+)[^`]*` \|", OPERATIONS[OPERATIONS.index("| verb |") :], re.M)
    known = set(verbs.choices or ())
    assert len(known) == 6
    assert known <= set(documented)


def test_each_question_of_health_is_documented() -> None:
    for question in QUESTIONS:
        assert f"| {question} | `{question}`" in OPERATIONS


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `handler\.([\w.]+)` \| (.*?) \|", PACKAGING, re.M))
    for prefix, section in (("", Settings), ("limits.", Limits)):
        for each in fields(section):
            if each.type is Limits or each.default is MISSING:
                continue
            shown = rows[prefix + each.name].strip("`")
            assert shown in (str(each.default).lower(), f"{each.default:g}" if each.type is float else "")
    for each in fields(ServerSettings):
        assert f"`{each.name}`" in PACKAGING
