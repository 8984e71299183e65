"""The check of a device, on the CPU; tests/image runs it in the image."""

import zipfile
from pathlib import Path

import pytest

from scripts import check_device


@pytest.fixture(autouse=True)
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_device, "NETWORKS", ("test_resnet",))


def _check(directory: Path, store: Path) -> int:
    store.mkdir()
    with zipfile.ZipFile(store / "tiny.mar", "w") as mar:
        for path in sorted(directory.rglob("*")):
            mar.write(path, path.relative_to(directory))
    return check_device.main(["--device", "cpu", "--model-store", str(store)])


def test_golden_inputs_and_networks_are_checked(
    tiny_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _check(tiny_directory, tmp_path / "store") == 0
    _, archive, network = capsys.readouterr().out.splitlines()
    assert archive == "ok  tiny 1.0: golden inputs"
    assert network.startswith("ok  test_resnet: logits are off by ")


def test_an_archive_that_rightly_has_no_golden_inputs_is_no_error(
    bare_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _check(bare_directory, tmp_path / "store") == 0
    assert "ok  tiny 1.0: classifies noise; it has no golden inputs" in capsys.readouterr().out


def test_missing_golden_inputs_and_an_unreadable_store_are_named(
    tiny_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_directory / "golden.json").unlink()
    assert _check(tiny_directory, tmp_path / "store") == 1
    assert "tiny 1.0: " in (error := capsys.readouterr().err)
    assert "golden.json: missing" in error
    assert check_device.main(["--device", "cpu", "--model-store", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
