"""Every request to a server goes to it directly."""

import re
from pathlib import Path

import pytest
import requests
from samples import free_ports
from stub import TorchServeStub

from scripts.paths import ROOT
from scripts.server.clients import Load, Question
from scripts.server.session import direct_session

# predict.py needs nothing of this project; audit.py asks a public site, which may be reached by a proxy only.
OWN_SESSIONS = {"scripts/server/session.py", "scripts/predict.py", "image/audit.py"}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment; nobody listens there."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports().inference}")


@pytest.mark.usefixtures("proxy")
def test_a_session_ignores_the_proxy(stub: type[TorchServeStub]) -> None:
    with direct_session() as session:
        assert session.get(f"{stub.url}/ping", timeout=30).status_code == 200


@pytest.mark.usefixtures("proxy")
def test_load_ignores_the_proxy(stub: type[TorchServeStub]) -> None:
    with Load(stub.url, 1, lambda _: Question(b""), limit=1) as load:
        while load.running():
            pass
    assert load.statuses() == {501: 1}, "the stub has no POST, and says so itself"


def test_all_code_uses_direct_sessions() -> None:
    own = re.compile(r"requests\.(Session|get|post|put|delete|request)\(")
    files = [path for folder in ("scripts", "bench", "deploy", "image") for path in (ROOT / folder).rglob("*.py")]
    users = {str(path.relative_to(ROOT)) for path in files if own.search(Path(path).read_text(encoding="utf-8"))}
    assert users == OWN_SESSIONS
    assert requests.Session().trust_env, "why there is a session of our own"
