import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.mar import check_target, pack, read_date

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


def test_a_target_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r": is a directory, expected the name of a file"):
        check_target(tmp_path, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(LoadError, match=r"x.mar: can't be written, expected a directory .* at .*file"):
        check_target(tmp_path / "file" / "below" / "x.mar", force=False)
    with pytest.raises(LoadError, match=r"file: exists already, expected a new name or --force"):
        check_target(tmp_path / "file", force=False)
    check_target(tmp_path / "new" / "store" / "x.mar", force=False)


@pytest.mark.parametrize("date", ["today", "-1", "1.5", "", "4354819199"])
def test_a_date_that_a_zip_file_can_not_hold_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    with pytest.raises(LoadError, match=rf"SOURCE_DATE_EPOCH: '{date}', expected seconds since 1970"):
        pack(_stage(tmp_path / "stage", []), "x", "1.0", tmp_path / "x.mar", force=False)


@pytest.mark.parametrize(("date", "year"), [("0", 1980), ("4354819198", 2107)])
def test_the_first_and_the_last_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str, year: int) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    pack(_stage(tmp_path / "stage", []), "x", "1.0", tmp_path / "x.mar", force=False)
    with zipfile.ZipFile(tmp_path / "x.mar") as mar:
        assert {info.date_time[0] for info in mar.infolist()} == {year}
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert read_date() == 315_532_800
