import json
import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.manifest import MANIFEST, read_manifest


def test_name_and_version(demo_mar: Path) -> None:
    assert read_manifest(demo_mar) == {"name": "cat-breeds", "version": "1.0"}


@pytest.mark.parametrize("manifest", [None, "{", "[]", "{}", json.dumps({"model": {"modelName": "x"}})])
def test_what_is_no_archive(tmp_path: Path, manifest: str | None) -> None:
    with zipfile.ZipFile(tmp_path / "x.mar", "w") as mar:
        mar.writestr("other", "")
        if manifest is not None:
            mar.writestr(MANIFEST, manifest)
    with pytest.raises(LoadError, match=r"x.mar: not an archive"):
        read_manifest(tmp_path / "x.mar")


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"x.mar: missing"):
        read_manifest(tmp_path / "x.mar")
    (tmp_path / "x.mar").write_text("hello")
    with pytest.raises(LoadError, match=r"x.mar: not an archive"):
        read_manifest(tmp_path / "x.mar")
