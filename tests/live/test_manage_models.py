"""scripts/manage_models.py against the real server: what serves goes on serving, whatever fails."""

import json
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from samples import CATS, CHELSEA, free_ports, wait_for

from scripts.archive.manifest import read_archive
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe
from scripts.manage_models import main
from scripts.server.client import KEY_FILE, Client
from scripts.server.torchserve import TorchServe

NAME = "managed"
Manage = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def versions(store: Path, demo_checkpoint: Path) -> dict[str, Path]:
    """Two versions, and the second again with other thresholds."""
    recipe = replace(demo_recipe(demo_checkpoint), name=NAME)
    wanted = {
        "one": recipe,
        "two": replace(recipe, version="2.0"),
        "two-again": replace(recipe, version="2.0", thresholds=0.3),
    }
    paths = {name: store / f"{NAME}-{name}.mar" for name in wanted}
    for name, each in wanted.items():
        build_archive(each, paths[name])
    return paths


@pytest.fixture
def manage(server: TorchServe, capsys: pytest.CaptureFixture[str]) -> Iterator[Manage]:
    """Runs a verb and returns its exit code and what it printed; afterwards the model is gone."""
    asked = ["--inference", server.inference, "--management", server.management, "--logs", str(server.logs)]

    def manage(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*map(str, arguments), *asked])
        said = capsys.readouterr()
        return code, said.out + said.err

    yield manage
    for version in [*server.client.versions(NAME)][::-1]:
        if server.client.describe(NAME)["modelVersion"] != version["modelVersion"]:
            server.client.unregister(NAME, version["modelVersion"])
    if server.client.versions(NAME):
        server.client.unregister(NAME, server.client.describe(NAME)["modelVersion"])


def _serving(server: TorchServe) -> tuple[int, str]:
    answer = requests.post(f"{server.inference}/predictions/{NAME}", data=CHELSEA, timeout=60)
    return answer.status_code, answer.json().get("model", {}).get("version", "")


def _edited(source: Path, name: str, edit: Callable[[str, bytes], bytes]) -> Path:
    """Another archive beside it, each of whose files went through `edit`."""
    target = source.with_name(name)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for each in old.namelist():
            new.writestr(each, edit(each, old.read(each)))
    return target


def test_from_the_first_version_to_the_second_and_back_without_losing_a_request(
    server: TorchServe, versions: dict[str, Path], manage: Manage
) -> None:
    """Four clients ask without pause from the first version's start to the removal of the second."""
    code, said = manage("register", versions["one"])
    assert code == 0, said
    assert re.search(r"registered as the first version, READY after \d+ s\ngolden     3 inputs answered", said)
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(_serving(server))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
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
            thread.join(60)
    assert {status for status, _ in answers} == {200}
    served = [version for _, version in answers]
    assert {"1.0", "2.0"} == set(served)
    assert served[0] == served[-1] == "1.0"


def test_the_same_archive_twice_is_no_error_and_another_of_its_version_is_refused(
    server: TorchServe, versions: dict[str, Path], manage: Manage
) -> None:
    assert manage("register", versions["two"], "--promote")[0] == 0
    worker = server.client.describe(NAME)["workers"][0]["pid"]
    code, said = manage("register", versions["two"], "--promote")
    assert code == 0
    assert "registered already, with the same contents" in said
    assert "serves     2.0 already" in said
    code, said = manage("register", versions["two-again"])
    assert code == 1
    assert "managed 2.0 is registered with other contents" in said
    assert server.client.describe(NAME)["workers"][0]["pid"] == worker
    assert _serving(server) == (200, "2.0")


def test_what_somebody_else_registers_meanwhile_is_left_alone(
    server: TorchServe, versions: dict[str, Path], manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(client: Client, file: str, timeout: float) -> None:
        for _ in range(2):
            register(client, file, timeout)

    register = Client.register
    monkeypatch.setattr(Client, "register", overtaken)
    code, said = manage("register", versions["one"])
    assert code == 1
    assert "managed 1.0: somebody else registered it meanwhile" in said
    assert _serving(server) == (200, "1.0")


def test_a_dry_run_changes_nothing(server: TorchServe, versions: dict[str, Path], manage: Manage) -> None:
    code, said = manage("register", versions["one"], "--dry-run", "--promote")
    assert code == 0
    assert "would      register managed-one.mar as the first version" in said
    assert server.client.versions(NAME) == []
    manage("register", versions["one"])
    for verb, expected in (
        (("register", versions["two"], "--promote"), "would      promote 2.0, if its golden inputs"),
        (("scale", NAME, "1.0", "3"), "would      scale managed 1.0 from 1 to 3"),
        (("unregister", NAME, "1.0", "--force"), "would      unregister managed 1.0"),
    ):
        code, said = manage(*verb, "--dry-run")
        assert code == 0
        assert expected in said
    [only] = server.client.versions(NAME)
    assert len(only["workers"]) == 1


def test_a_version_whose_worker_dies_is_taken_back_with_its_own_words(
    server: TorchServe, versions: dict[str, Path], manage: Manage
) -> None:
    """Its golden scores are those of another model: the check of the file can't see that, the worker does."""

    def edit(name: str, content: bytes) -> bytes:
        return content.replace(b"0.7379", b"0.9379") if name == "golden.json" else content

    wrong = _edited(versions["two"], "managed-wrong.mar", edit)
    manage("register", versions["one"])
    code, said = manage("register", wrong, "--promote")
    assert code == 1
    assert "LoadError: " in said
    assert "golden self-check failed: 'tabby' scores 0.7379, expected 0.9379" in said
    assert "2.0 is not registered, 1.0 serves as before" in said
    assert [each["modelVersion"] for each in server.client.versions(NAME)] == ["1.0"]
    assert _serving(server) == (200, "1.0")


def test_a_version_that_answers_other_scores_over_http_is_taken_back(
    server: TorchServe, versions: dict[str, Path], manage: Manage
) -> None:
    """Its worker doesn't check itself, so it becomes READY."""

    def edit(name: str, content: bytes) -> bytes:
        if name == "model-config.yaml":
            return content.replace(b"self_check: true", b"self_check: false")
        return content.replace(b"0.7379", b"0.9379") if name == "golden.json" else content

    wrong = _edited(versions["two"], "managed-unchecked.mar", edit)
    manage("register", versions["one"])
    code, said = manage("register", wrong, "--promote")
    assert code == 1
    assert "READY after" in said
    assert "error: golden input chelsea.png: 'tabby' scores 0.7379, expected 0.9379 within 0.01; " in said
    assert "2.0 is not registered, 1.0 serves as before" in said
    assert [each["modelVersion"] for each in server.client.versions(NAME)] == ["1.0"]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda content: content[: len(content) // 2], "not an archive that torch-model-archiver made"),
        (lambda content: content.replace(b"0.7379", b"0.7380", 1), "damaged: Bad CRC-32 for file 'golden.json'"),
        (lambda content: b"", "not an archive that torch-model-archiver made"),
    ],
)
def test_a_damaged_file_never_reaches_the_server(
    server: TorchServe,
    versions: dict[str, Path],
    manage: Manage,
    damage: Callable[[bytes], bytes],
    cause: str,
) -> None:
    broken = versions["one"].with_name("managed-broken.mar")
    broken.write_bytes(damage(versions["one"].read_bytes()))
    code, said = manage("register", broken)
    assert code == 1
    assert f"managed-broken.mar: {cause}" in said
    assert server.client.versions(NAME) == []
    broken.unlink()


def test_an_archive_of_another_server_is_not_taken_for_ours(
    server: TorchServe, versions: dict[str, Path], manage: Manage, tmp_path: Path
) -> None:
    """The server's store has a file of this name with other contents."""
    shutil.copy(versions["two-again"], tmp_path / versions["two"].name)
    code, said = manage("register", tmp_path / versions["two"].name)
    assert code == 1
    assert "managed 2.0 is registered with other contents" in said
    assert "2.0 is not registered, nothing serves" in said
    assert server.client.versions(NAME) == []
    shutil.copy(versions["two"], tmp_path / "elsewhere.mar")
    code, said = manage("register", tmp_path / "elsewhere.mar")
    assert code == 1
    assert "status 404: Model not found" in said


def test_scale_and_list(server: TorchServe, versions: dict[str, Path], manage: Manage) -> None:
    manage("register", versions["one"])
    code, said = manage("scale", NAME, "1.0", "2")
    assert (code, said) == (0, "scaled     managed 1.0 from 1 to 2, READY\n")
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


def test_what_would_leave_nobody_serving_is_refused(
    server: TorchServe, versions: dict[str, Path], manage: Manage
) -> None:
    manage("register", versions["one"])
    for verb, cause in (
        (("unregister", NAME, "1.0"), "managed 1.0 serves and is the last: nothing would answer"),
        (("unregister", NAME, "7.0"), "managed 7.0 is not registered; versions: 1.0"),
        (("promote", NAME, "7.0"), "managed 7.0 is not registered; versions: 1.0"),
        (("rollback", NAME), "managed: no other version has READY workers; 1.0 serves as before"),
        (("promote", "nobody", "1.0"), "nobody 1.0 is not registered; versions: none"),
    ):
        code, said = manage(*verb)
        assert code == 1, said
        assert cause in said
    manage("register", versions["two"])
    server.client.scale(NAME, "2.0", 0, 60)
    code, said = manage("promote", NAME, "2.0")
    assert code == 1
    assert "managed 2.0 has no READY worker; 1.0 serves as before" in said
    code, said = manage("register", versions["two"])
    assert code == 1
    assert "is registered and has no READY worker, so its contents can't be told" in said
    assert _serving(server) == (200, "1.0")
    assert manage("unregister", NAME, "2.0")[0] == 0
    assert manage("unregister", NAME, "1.0", "--force")[0] == 0
    assert server.client.versions(NAME) == []


def test_several_others_to_roll_back_to_must_be_told_apart(
    server: TorchServe, versions: dict[str, Path], manage: Manage, store: Path
) -> None:
    def edit(name: str, content: bytes) -> bytes:
        return content.replace(b'"2.0"', b'"3.0"') if name == "MAR-INF/MANIFEST.json" else content

    third = _edited(versions["two"], "managed-third.mar", edit)
    assert read_archive(third).version == "3.0"
    for path in (versions["one"], versions["two"], third):
        assert manage("register", path, "--promote")[0] == 0
    code, said = manage("rollback", NAME)
    assert code == 1
    assert "managed: which of 2.0 or 1.0? Say it with --to; 3.0 serves as before" in said
    assert manage("rollback", NAME, "--to", "1.0")[0] == 0
    assert _serving(server) == (200, "1.0")


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports().management}"
    assert main(["list", "--management", nobody, "--inference", nobody]) == 3
    assert "no answer (ConnectionError)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["scale", "m", "1.0", "0"], ["scale", "m", "1.0", "many"], ["promote", "m"], []])
def test_wrong_usage(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_with_tokens_that_expire_while_a_version_loads(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens of three seconds, of which loading takes more."""
    monkeypatch.setenv("TS_DISABLE_TOKEN_AUTHORIZATION", "false")
    monkeypatch.setenv("TS_TOKEN_EXPIRATION_TIME_MIN", "0.05")
    ports = free_ports()
    inference, management = f"http://127.0.0.1:{ports.inference}", f"http://127.0.0.1:{ports.management}"
    client = Client(inference, management, tmp_path / KEY_FILE)
    asked = ["--inference", inference, "--management", management, "--keys", str(tmp_path / KEY_FILE)]
    logs = tmp_path / "logs"
    with TorchServe([], store, ports, logs, home=tmp_path, client=client):
        wait_for(lambda: ports.management in ports.taken())
        code = main(["register", str(store / "cat-breeds.mar"), *asked, "--logs", str(logs)])
        said = capsys.readouterr()
        assert code == 0, said
        assert "3 inputs answered" in said.out
        assert requests.get(f"{management}/models", timeout=30).status_code == 400
        assert client.details("cat-breeds", "1.0")["labels"][1]["name"] in CATS
