"""scripts/manage_models.py and a real server: versions come and go, and what serves goes on serving.
tests/scripts/test_manage_models.py has all verbs and refusals, to a stub."""

import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import logbook
import pytest
import requests
from archives import edited, renamed, with_wrong_golden
from samples import CHELSEA, PATIENCE, TINY_LABELS, free_ports, wait_for

from scripts.archive.outline import check_archive
from scripts.manage_models import main
from scripts.server.client import KEY_FILE, ApiError, Client
from scripts.server.torchserve import TorchServe

NAME = "managed"
Manage = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def versions(store: Path, tiny_mar: Path) -> Iterator[dict[str, Path]]:
    """Two versions, and the first again with other thresholds, in the server's store."""

    def other_thresholds(name: str, content: bytes) -> bytes:
        return content.replace(b"0.4", b"0.3") if name == "thresholds.json" else content

    one = renamed(tiny_mar, store / "managed-one.mar", NAME)
    again = edited(one, store / "managed-again.mar", other_thresholds)
    two = renamed(tiny_mar, store / "managed-two.mar", NAME, "2.0")
    yield {"one": one, "again": again, "two": two}
    for path in (one, again, two):
        path.unlink()


@pytest.fixture(scope="module")
def manage(server: TorchServe) -> Manage:
    """Runs a verb and returns its exit code and what it printed."""
    asked = ["--inference", server.inference, "--management", server.management, "--logs", str(server.logs)]

    def manage(*arguments: str | Path) -> tuple[int, str]:
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            code = main([*map(str, arguments), *asked])
        return code, printed.getvalue()

    return manage


@pytest.fixture(scope="module")
def first(server: TorchServe, versions: dict[str, Path], manage: Manage) -> Iterator[str]:
    """What was printed as the first version was registered. It serves alone, before each test and after it."""
    code, said = manage("register", versions["one"])
    assert code == 0, said
    yield said
    others = [each["modelVersion"] for each in server.client.versions(NAME) if each["modelVersion"] != "1.0"]
    for version in (*others, "1.0"):  # the one that serves goes last
        server.client.unregister(NAME, version)


def _serving(server: TorchServe) -> tuple[int, str]:
    answer = requests.post(f"{server.inference}/predictions/{NAME}", data=CHELSEA, timeout=PATIENCE)
    return answer.status_code, answer.json().get("model", {}).get("version", "")


def test_the_first_version_is_proved(server: TorchServe, first: str) -> None:
    assert re.search(r"registered as the first version, READY after \d+ s\ngolden     2 inputs answered", first)
    assert _serving(server) == (200, "1.0")


def test_a_second_version_comes_and_goes_without_losing_a_request(
    server: TorchServe, versions: dict[str, Path], manage: Manage, first: str
) -> None:
    """Four clients ask without pause from before the second version's start to its removal."""
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(_serving(server))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: (200, "1.0") in answers)
        code, said = manage("register", versions["two"], "--promote")
        assert code == 0, said
        assert "registered beside 1.0, which serves, READY" in said
        assert "serves     2.0 in place of 1.0; back with: rollback managed --to 1.0" in said
        assert _serving(server) == (200, "2.0")
        wait_for(lambda: (200, "2.0") in answers)
        code, said = manage("rollback", NAME)
        assert (code, said.split("; ")[0]) == (0, "serves     1.0 in place of 2.0")
        assert _serving(server) == (200, "1.0")
        rolled_back = len(answers)
        wait_for(lambda: (200, "1.0") in answers[rolled_back:])
        code, said = manage("unregister", NAME, "2.0")
        assert (code, said) == (0, "removed    managed 2.0\n")
        assert _serving(server) == (200, "1.0")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    served = [version for _, version in answers]
    assert {"1.0", "2.0"} == set(served)
    assert served[0] == served[-1] == "1.0"


def test_the_same_archive_twice_keeps_its_worker_and_another_of_its_version_is_refused(
    server: TorchServe, versions: dict[str, Path], manage: Manage, first: str
) -> None:
    worker = server.client.describe(NAME)["workers"][0]["pid"]
    code, said = manage("register", versions["one"], "--promote")
    assert code == 0
    assert "registered already, with the same contents" in said
    assert "serves     1.0 already" in said
    code, said = manage("register", versions["again"])
    assert code == 1
    assert "managed 1.0 is registered with other contents" in said
    assert server.client.describe(NAME)["workers"][0]["pid"] == worker
    assert _serving(server) == (200, "1.0")


def test_a_version_that_is_there_is_a_conflict_to_torchserve(
    server: TorchServe, versions: dict[str, Path], first: str
) -> None:
    """By which the verb knows that somebody else has registered it."""
    with pytest.raises(ApiError) as raised:
        server.client.register(versions["one"].name, PATIENCE)
    assert raised.value.status == 409
    assert _serving(server) == (200, "1.0")


def test_a_version_whose_worker_dies_is_taken_back_with_its_own_words(
    server: TorchServe,
    versions: dict[str, Path],
    manage: Manage,
    first: str,
    store: Path,
) -> None:
    """Its golden scores are those of another model: the check of the file can't see that, the worker does. Its last
    line in the log says so."""
    wrong = with_wrong_golden(versions["two"], store / "managed-wrong.mar", 0.2)
    expected = check_archive(wrong).golden[0].scores[0]
    cause = f"golden self-check failed: 'ant' scores {expected - 0.2:.4f}, expected {expected:.4f}"
    try:
        code, printed = manage("register", wrong, "--promote")
    finally:
        wrong.unlink()
    assert code == 1
    assert "LoadError: " in printed
    assert cause in printed
    assert "2.0 is not registered, 1.0 serves as before" in printed
    assert [each["modelVersion"] for each in server.client.versions(NAME)] == ["1.0"]
    assert _serving(server) == (200, "1.0")
    log = [each["message"] for each in logbook.said(server) if each.get("thread", "").endswith(f"-{NAME}_2.0-stdout")]
    # The worker's own last line; those of its further tries may have begun by now.
    last = max(index for index, line in enumerate(log) if "LoadError" in line)
    assert cause in log[last]
    assert last + 1 == len(log) or "s_name_part0" in log[last + 1]


def test_a_file_that_the_servers_store_lacks(
    versions: dict[str, Path], manage: Manage, first: str, tmp_path: Path
) -> None:
    shutil.copy(versions["two"], tmp_path / "elsewhere.mar")
    code, said = manage("register", tmp_path / "elsewhere.mar")
    assert code == 1
    assert "status 404: Model not found" in said


def test_list(server: TorchServe, manage: Manage, first: str) -> None:
    code, printed = manage("list")
    rows = [line.split() for line in printed.splitlines()]
    assert code == 0
    assert ["●", NAME, "1.0", "1/1", "0", "8", "managed-one.mar"] in rows
    assert [row[1] for row in rows[1:]] == sorted(server.client.models())


@pytest.mark.slow
def test_scale_and_list(server: TorchServe, manage: Manage, first: str) -> None:
    code, said = manage("scale", NAME, "1.0", "2")
    assert code == 0
    assert said.startswith("scaled     managed 1.0 from 1 to 2, READY\nkept       no: ")
    code, said = manage("list", NAME, "--json")
    assert json.loads(said) == [
        {
            **{"model": NAME, "version": "1.0", "serves": True, "ready": 2, "workers": 2, "waiting": 0},
            **{"batch_size": 8, "archive": "managed-one.mar"},
        }
    ]
    code, said = manage("list")
    rows = [line.split() for line in said.splitlines()]
    assert rows[0] == ["MODEL", "VERSION", "READY", "WAITING", "BATCH", "ARCHIVE"]
    assert ["●", NAME, "1.0", "2/2", "0", "8", "managed-one.mar"] in rows
    assert [row[1] for row in rows[1:]] == sorted(server.client.models())
    assert manage("scale", NAME, "1.0", "1")[0] == 0
    assert len(server.client.describe(NAME)["workers"]) == 1


@pytest.mark.slow
def test_with_tokens_that_expire(
    tiny_mar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens of six seconds, which have expired before the version is registered, and mostly do again as it loads."""
    monkeypatch.setenv("TS_DISABLE_TOKEN_AUTHORIZATION", "false")
    monkeypatch.setenv("TS_TOKEN_EXPIRATION_TIME_MIN", "0.1")
    ports = free_ports()
    inference, management = f"http://127.0.0.1:{ports.inference}", f"http://127.0.0.1:{ports.management}"
    keys = tmp_path / KEY_FILE
    client = Client(inference, management, keys)
    asked = ["--inference", inference, "--management", management, "--keys", str(keys)]
    logs = tmp_path / "logs"

    def expired() -> bool:
        expires = json.loads(keys.read_text())["management"]["expiration time"]
        return datetime.fromisoformat(expires) < datetime.now(UTC)

    with TorchServe([], tiny_mar.parent, ports, logs, home=tmp_path, client=client):
        wait_for(lambda: ports.management in ports.taken())
        wait_for(expired)
        code = main(["register", str(tiny_mar), *asked, "--logs", str(logs)])
        said = capsys.readouterr()
        assert code == 0, said
        assert "2 inputs answered" in said.out
        assert requests.get(f"{management}/models", timeout=PATIENCE).status_code == 400
        assert client.details("tiny", "1.0")["labels"][1]["name"] in TINY_LABELS
