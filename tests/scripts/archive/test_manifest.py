import json
import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.manifest import MANIFEST, Archive, find_archives, read_archive


def test_name_and_version(demo_mar: Path) -> None:
    assert read_archive(demo_mar) == Archive(demo_mar, "cat-breeds", "1.0")


@pytest.mark.parametrize("manifest", [None, "{", "[]", "{}", json.dumps({"model": {"modelName": "x"}})])
def test_what_is_no_archive(tmp_path: Path, manifest: str | None) -> None:
    with zipfile.ZipFile(tmp_path / "x.mar", "w") as mar:
        mar.writestr("other", "")
        if manifest is not None:
            mar.writestr(MANIFEST, manifest)
    with pytest.raises(LoadError, match=r"x.mar: not an archive"):
        read_archive(tmp_path / "x.mar")


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"x.mar: missing"):
        read_archive(tmp_path / "x.mar")
    (tmp_path / "x.mar").write_text("hello")
    with pytest.raises(LoadError, match=r"x.mar: not an archive"):
        read_archive(tmp_path / "x.mar")


def _archive(path: Path, name: str, version: str) -> None:
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr(MANIFEST, json.dumps({"model": {"modelName": name, "modelVersion": version}}))


def test_of_a_store_the_newest_version_comes_first(tmp_path: Path) -> None:
    for file, name, version in (("a", "cat", "1.9"), ("b", "cat", "1.10"), ("c", "ant", "2")):
        _archive(tmp_path / f"{file}.mar", name, version)
    (tmp_path / "README.md").touch()
    found = [(archive.path.name, str(archive)) for archive in find_archives(tmp_path)]
    assert found == [("c.mar", "ant 2"), ("b.mar", "cat 1.10"), ("a.mar", "cat 1.9")]


def test_a_store_without_archives_and_no_store(tmp_path: Path) -> None:
    assert find_archives(tmp_path) == []
    with pytest.raises(LoadError, match=r"nowhere: missing, expected a directory of archives"):
        find_archives(tmp_path / "nowhere")


def test_two_files_of_one_version(tmp_path: Path) -> None:
    _archive(tmp_path / "a.mar", "cat", "1.0")
    _archive(tmp_path / "b.mar", "cat", "1.0")
    with pytest.raises(LoadError, match=r"b.mar: holds cat 1.0, as a.mar does; expected one file a version"):
        find_archives(tmp_path)
