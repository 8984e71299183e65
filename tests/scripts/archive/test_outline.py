"""What is told of an archive before a server takes it."""

import errno
import zipfile
from pathlib import Path

import pytest

from handler.classifier import Classifier
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.archive.outline import check_archive, read_golden_inputs, read_outline, unpacked


def _pack(directory: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as mar:
        for path in sorted(directory.rglob("*")):
            mar.write(path, path.relative_to(directory))
    return target


def test_a_sound_archive(demo_mar: Path, demo: Classifier) -> None:
    checked = check_archive(demo_mar)
    assert str(checked.archive) == "cat-breeds 1.0"
    assert checked.labels == demo.labels
    assert [each.name for each in checked.golden] == ["chelsea.png", "coffee.png", "rocket.jpg"]
    assert checked.contents_sha256 == demo.contents_sha256
    assert checked.server.batchSize == 8


def test_the_same_contents_as_another_version_have_the_same_digest(demo_mar: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(demo_mar) as old, zipfile.ZipFile(tmp_path / "two.mar", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'"1.0"', b'"2.0"') if name == "MAR-INF/MANIFEST.json" else content)
    two = check_archive(tmp_path / "two.mar")
    assert two.archive.version == "2.0"
    assert two.contents_sha256 == check_archive(demo_mar).contents_sha256


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("thresholds.json", "7", "thresholds.json: 7, expected a number above 0 and below 1"),
        ("thresholds.json", None, "thresholds.json: missing"),
        ("index_to_name.json", "{}", "index_to_name.json: expected"),
        ("model-config.yaml", "minWorkers: 1", "model-config.yaml: handler: missing"),
        ("preprocessing.json", "{", "preprocessing.json: not valid JSON"),
        ("golden.json", None, "golden.json: missing"),
        ("golden.json", "[]", "golden.json: expected {file name: [score, …]}"),
        ("golden/noise.bmp", None, "golden/noise.bmp: missing, expected a golden input"),
        ("model.safetensors", "other", "model.safetensors: SHA-256 "),
        ("model.safetensors", None, "model.safetensors: missing, expected the weights"),
    ],
)
def test_what_is_wrong_is_named_as_the_archive_has_it(
    tiny_directory: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    if content is None:
        (tiny_directory / file).unlink()
    else:
        (tiny_directory / file).write_text(content)
    path = _pack(tiny_directory, tmp_path / "wrong.mar")
    with pytest.raises(LoadError) as caught:
        check_archive(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_archive_without_self_check_may_come_without_golden_inputs(tiny_directory: Path, tmp_path: Path) -> None:
    config = tiny_directory / "model-config.yaml"
    config.write_text(config.read_text().replace("self_check: true", "self_check: false"))
    assert len(check_archive(_pack(tiny_directory, tmp_path / "a.mar")).golden) == 2
    (tiny_directory / "golden.json").unlink()
    assert check_archive(_pack(tiny_directory, tmp_path / "b.mar")).golden == []


def _with(demo_mar: Path, target: Path, name: str, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(demo_mar) as old, zipfile.ZipFile(target, "w") as new:
        for each in old.namelist():
            new.writestr(each, old.read(each))
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        new.writestr(info, b"/etc/passwd")
    return target


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../climbed.txt", 0o100644, "'../climbed.txt': leads out of the archive"),
        ("/climbed.txt", 0o100644, "'/climbed.txt': leads out of the archive"),
        ("handler/../../climbed.txt", 0o100644, "leads out of the archive"),
        ("..\\climbed.txt", 0o100644, "leads out of the archive"),
        ("line\nbreak", 0o100644, "leads out of the archive"),
        ("link", 0o120777, "'link': a symbolic link"),
        ("thresholds.json", 0o100644, "'thresholds.json': there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_leads_out_of_an_archive(demo_mar: Path, tmp_path: Path, name: str, mode: int, message: str) -> None:
    path = _with(demo_mar, tmp_path / "climbing.mar", name, mode)
    with pytest.raises(LoadError) as caught:
        check_archive(path)
    assert message in str(caught.value)
    assert not list(tmp_path.rglob("climbed*"))


def test_no_room_to_unpack_is_no_damage(demo_mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(LoadError, match=r"cat-breeds\.mar: No space left on device in /.*, expected room to unpack"):
        check_archive(demo_mar)


def test_a_damaged_byte_is_found(demo_mar: Path, tmp_path: Path) -> None:
    content = bytearray(demo_mar.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bent.mar").write_bytes(content)
    with pytest.raises(LoadError, match=r"bent.mar: damaged: Bad CRC-32 for file 'model.safetensors'"):
        check_archive(tmp_path / "bent.mar")


def test_only_what_is_wanted_is_unpacked_and_it_is_gone_afterwards(demo_mar: Path) -> None:
    with unpacked(demo_mar, lambda name: name == "thresholds.json") as directory:
        assert [path.name for path in directory.iterdir()] == ["thresholds.json"]
    assert not directory.exists()
    outline = read_outline(read_archive(demo_mar))
    assert outline.server.batchSize == 8
    assert [each.name for each in read_golden_inputs(outline)] == ["chelsea.png", "coffee.png", "rocket.jpg"]
