"""The verbs, to a stub that keeps models and versions as TorchServe does; tests/live/test_manage_models_served.py has
what needs a real server."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from archives import edited, renamed, with_wrong_golden
from samples import free_ports
from stub import Held, ManagedStub, Served, serving

from scripts.archive.outline import check_archive
from scripts.manage_models import main
from scripts.server.client import Client

NAME = "managed"
Manage = Callable[..., tuple[int, str]]


@pytest.fixture
def store(tiny_mar: Path, tmp_path: Path) -> Path:
    """Three versions, and the second again with other thresholds."""
    store = tmp_path / "store"
    store.mkdir()
    for number, name in enumerate(("one", "two", "three"), start=1):
        renamed(tiny_mar, store / f"{name}.mar", NAME, f"{number}.0")

    def other_thresholds(name: str, content: bytes) -> bytes:
        return content.replace(b"0.4", b"0.3") if name == "thresholds.json" else content

    edited(store / "two.mar", store / "two-again.mar", other_thresholds)
    return store


@pytest.fixture
def stub(store: Path, tmp_path: Path) -> Iterator[type[ManagedStub]]:
    class Stub(ManagedStub):
        versions: dict[str, dict[str, Served]] = {}
        default: dict[str, str] = {}
        calls: list[str] = []
        logs = tmp_path

    Stub.store = {path.name: Held(check_archive(path)) for path in store.iterdir()}
    with serving(Stub) as Stub.url:
        yield Stub


@pytest.fixture
def manage(stub: type[ManagedStub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Manage:
    """Runs a verb and returns its exit code and what it printed."""
    asked = ["--inference", stub.url, "--management", stub.url, "--logs", str(tmp_path), "--keys", "none.json"]

    def manage(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*map(str, arguments), *asked])
        said = capsys.readouterr()
        return code, said.out + said.err

    return manage


def _versions(stub: type[ManagedStub]) -> list[str]:
    return list(stub.versions.get(NAME, {}))


def test_the_same_archive_twice_is_no_error_and_another_of_its_version_is_refused(
    stub: type[ManagedStub], store: Path, manage: Manage
) -> None:
    assert manage("register", store / "two.mar", "--promote")[0] == 0
    before = list(stub.calls)
    code, said = manage("register", store / "two.mar", "--promote")
    assert code == 0
    assert "registered already, with the same contents" in said
    assert "serves     2.0 already" in said
    code, said = manage("register", store / "two-again.mar")
    assert code == 1
    assert "managed 2.0 is registered with other contents" in said
    assert stub.calls == before
    assert stub.default == {NAME: "2.0"}


def test_what_somebody_else_registers_meanwhile_is_left_alone(
    stub: type[ManagedStub], store: Path, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(client: Client, file: str, timeout: float) -> None:
        for _ in range(2):
            register(client, file, timeout)

    register = Client.register
    monkeypatch.setattr(Client, "register", overtaken)
    code, said = manage("register", store / "one.mar")
    assert code == 1
    assert "managed 1.0: somebody else registered it meanwhile" in said
    assert _versions(stub) == ["1.0"]


def test_a_dry_run_changes_nothing(stub: type[ManagedStub], store: Path, manage: Manage) -> None:
    code, said = manage("register", store / "one.mar", "--dry-run", "--promote")
    assert code == 0
    assert "would      register one.mar as the first version" in said
    assert stub.calls == []
    manage("register", store / "one.mar")
    for verb, expected in (
        (("register", store / "two.mar", "--promote"), "would      promote 2.0, if its golden inputs"),
        (("scale", NAME, "1.0", "3"), "would      scale managed 1.0 from 1 to 3"),
        (("unregister", NAME, "1.0", "--force"), "would      unregister managed 1.0"),
    ):
        code, said = manage(*verb, "--dry-run")
        assert code == 0
        assert expected in said
    assert stub.calls == ["register one.mar"]


def test_a_version_whose_worker_dies_is_not_left_and_its_words_are_given(
    stub: type[ManagedStub], store: Path, manage: Manage
) -> None:
    stub.store["two.mar"].fails = True
    manage("register", store / "one.mar")
    code, said = manage("register", store / "two.mar", "--promote")
    assert code == 1
    assert "LoadError: two.mar: as the test says" in said
    assert "2.0 is not registered, 1.0 serves as before" in said
    assert _versions(stub) == ["1.0"]
    assert stub.default == {NAME: "1.0"}


def test_a_version_that_answers_other_scores_over_http_is_taken_back(
    stub: type[ManagedStub], store: Path, manage: Manage
) -> None:
    """Its worker doesn't check itself, so it becomes READY."""
    wrong = with_wrong_golden(store / "two.mar", store / "wrong.mar", 0.2, {"self_check": False})
    stub.store["wrong.mar"] = Held(check_archive(wrong), off=-0.2)
    manage("register", store / "one.mar")
    code, said = manage("register", wrong, "--promote")
    golden = check_archive(wrong).golden[0]
    expected = f"'ant' scores {golden.scores[0] - 0.2:.4f}, expected {golden.scores[0]:.4f} within 0.01; "
    assert code == 1
    assert "READY after" in said
    assert f"error: golden input {golden.name}: {expected}" in said
    assert "2.0 is not registered, 1.0 serves as before" in said
    assert stub.calls == ["register one.mar", "register wrong.mar", "unregister managed 2.0"]
    assert _versions(stub) == ["1.0"]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda content: content[: len(content) // 2], "not an archive that torch-model-archiver made"),
        (lambda content: content.replace(b'"ant": 0.4', b'"ant": 0.5', 1), "damaged: Bad CRC-32 for file 'thresholds"),
        (lambda content: b"", "not an archive that torch-model-archiver made"),
    ],
)
def test_a_damaged_file_never_reaches_the_server(
    stub: type[ManagedStub], store: Path, manage: Manage, damage: Callable[[bytes], bytes], cause: str
) -> None:
    broken = store / "broken.mar"
    broken.write_bytes(damage((store / "one.mar").read_bytes()))
    code, said = manage("register", broken)
    assert code == 1
    assert f"broken.mar: {cause}" in said
    assert stub.calls == []


def test_an_archive_of_another_server_is_not_taken_for_ours(
    stub: type[ManagedStub], store: Path, manage: Manage, tmp_path: Path
) -> None:
    """The server's store has a file of this name with other contents."""
    shutil.copy(store / "two-again.mar", tmp_path / "two.mar")
    code, said = manage("register", tmp_path / "two.mar")
    assert code == 1
    assert "managed 2.0 is registered with other contents" in said
    assert "2.0 is not registered, nothing serves" in said
    assert stub.calls == ["register two.mar", "unregister managed 2.0"]
    assert _versions(stub) == []


def test_what_would_leave_nobody_serving_is_refused(stub: type[ManagedStub], store: Path, manage: Manage) -> None:
    manage("register", store / "one.mar")
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
    manage("register", store / "two.mar")
    stub.versions[NAME]["2.0"].workers = 0
    code, said = manage("promote", NAME, "2.0")
    assert code == 1
    assert "managed 2.0 has no READY worker; 1.0 serves as before" in said
    code, said = manage("register", store / "two.mar")
    assert code == 1
    assert "is registered and has no READY worker, so its contents can't be compared" in said
    code, said = manage("unregister", NAME, "1.0", "--force")
    assert code == 1
    assert "managed 1.0 serves; promote another version first" in said
    assert stub.default == {NAME: "1.0"}
    assert manage("unregister", NAME, "2.0")[0] == 0
    assert manage("unregister", NAME, "1.0", "--force")[0] == 0
    assert _versions(stub) == []


def test_several_others_to_roll_back_to_must_be_told_apart(
    stub: type[ManagedStub], store: Path, manage: Manage
) -> None:
    for name in ("one", "two", "three"):
        assert manage("register", store / f"{name}.mar", "--promote")[0] == 0
    code, said = manage("rollback", NAME)
    assert code == 1
    assert "managed: which of 2.0 or 1.0? Say it with --to; 3.0 serves as before" in said
    assert manage("rollback", NAME, "--to", "1.0")[0] == 0
    assert stub.default == {NAME: "1.0"}


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports().management}"
    assert main(["list", "--management", nobody, "--inference", nobody]) == 3
    assert "no answer (ConnectionError)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["scale", "m", "1.0", "0"], ["scale", "m", "1.0", "many"], ["promote", "m"], []])
def test_wrong_usage(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
