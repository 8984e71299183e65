import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.mar import pack

NAMES = ["b/two.txt", "a.txt", "c.txt", "b/one.txt"]


def _stage(directory: Path, names: list[str]) -> Path:
    for name in ("handler/adapter.py", "model.safetensors", "model-config.yaml", *names):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def test_order_of_files_modes_and_dates_leave_no_trace(tmp_path: Path) -> None:
    first, second = _stage(tmp_path / "1", NAMES), _stage(tmp_path / "2", NAMES[::-1])
    (second / "a.txt").chmod(0o700)
    pack(first, "x", "1.0", tmp_path / "1.mar", force=False)
    pack(second, "x", "1.0", tmp_path / "2.mar", force=False)
    assert (tmp_path / "1.mar").read_bytes() == (tmp_path / "2.mar").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.mar") as mar:
        assert mar.namelist() == sorted(mar.namelist())
        assert {info.external_attr >> 16 for info in mar.infolist()} == {0o100644}
        assert {info.compress_type for info in mar.infolist()} == {zipfile.ZIP_STORED}


def test_what_the_archiver_refuses_leaves_no_file(tmp_path: Path) -> None:
    stage = _stage(tmp_path / "stage", [])
    (stage / "model-config.yaml").unlink()
    with pytest.raises(LoadError, match=r"x.mar: torch-model-archiver failed: .*model-config.yaml"):
        pack(stage, "x", "1.0", tmp_path / "store" / "x.mar", force=False)
    assert list((tmp_path / "store").iterdir()) == []
