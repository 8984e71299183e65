"""An archive is unpacked whole or in part, and nothing in it reaches outside."""

import errno
import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.unpacking import unpacked


def _unpack(path: Path) -> None:
    with unpacked(path):
        pass


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
        _unpack(path)
    assert message in str(caught.value)
    assert not list(tmp_path.rglob("climbed*"))


def test_no_room_to_unpack_is_no_damage(demo_mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(LoadError, match=r"cat-breeds\.mar: No space left on device in /.*, expected room to unpack"):
        _unpack(demo_mar)


def test_a_damaged_byte_is_found(demo_mar: Path, tmp_path: Path) -> None:
    content = bytearray(demo_mar.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bent.mar").write_bytes(content)
    with pytest.raises(LoadError, match=r"bent.mar: damaged: Bad CRC-32 for file 'model.safetensors'"):
        _unpack(tmp_path / "bent.mar")


def test_only_what_is_wanted_is_unpacked_and_it_is_gone_afterwards(demo_mar: Path) -> None:
    with unpacked(demo_mar, lambda name: name == "thresholds.json") as directory:
        assert [path.name for path in directory.iterdir()] == ["thresholds.json"]
    assert not directory.exists()
