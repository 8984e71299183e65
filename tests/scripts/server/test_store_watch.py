import shutil
from pathlib import Path

import pytest
from archives import renamed

from scripts.archive.manifest import Archive, read_archive
from scripts.server import store_watch
from scripts.server.store_watch import StoreWatch, broken_files


class Told(list[int]):
    """Stands in for haproxy, as far as it is told the number of broken files."""

    set_broken_files = list.append


def test_each_file_that_the_next_start_would_leave_out_is_broken(tiny_mar: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    assert broken_files(store) == 0
    shutil.copy(tiny_mar, store / "tiny.mar")
    renamed(tiny_mar, store / "refused.mar", "refused")
    assert broken_files(store) == 0
    refused = read_archive(store / "refused.mar")
    assert broken_files(store, [refused, Archive(store / "gone.mar", "gone", "1.0")]) == 1
    (store / "half.mar").write_bytes(tiny_mar.read_bytes()[:1000])
    (store / "notes.txt").touch()
    shutil.copy(tiny_mar, store / "twice.mar")
    assert broken_files(store, [refused]) == 3
    assert broken_files(tmp_path / "gone") == 1


def test_haproxy_is_told_once_a_period_and_when_an_archive_is_refused(
    tiny_mar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    watch = StoreWatch(tmp_path, told)  # type: ignore[arg-type]
    watch.look([])
    (tmp_path / "half.mar").touch()
    watch.look([])
    assert told == [0]
    shutil.copy(tiny_mar, tmp_path / "tiny.mar")
    watch.look([read_archive(tmp_path / "tiny.mar")])
    assert told == [0, 2]
    monkeypatch.setattr(store_watch, "PERIOD", 0.0)
    (tmp_path / "half.mar").unlink()
    watch._next = 0.0
    watch.look([read_archive(tmp_path / "tiny.mar")])
    assert told == [0, 2, 1]
