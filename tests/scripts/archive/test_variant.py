import zipfile
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.outline import check_archive
from scripts.archive.variant import write_variant


def test_only_the_settings_differ(demo_mar: Path, tmp_path: Path) -> None:
    target = tmp_path / "other.mar"
    write_variant(demo_mar, target, {"decode": "exact"}, {"batchSize": 4})
    before, after = check_archive(demo_mar), check_archive(target)
    assert (after.settings.decode, after.server.batchSize) == ("exact", 4)
    assert (after.archive.name, after.archive.version) == (before.archive.name, before.archive.version)
    assert after.contents_sha256 != before.contents_sha256
    with zipfile.ZipFile(demo_mar) as old, zipfile.ZipFile(target) as new:
        assert old.namelist() == new.namelist()
        assert [name for name in old.namelist() if old.read(name) != new.read(name)] == ["model-config.yaml"]


def test_the_same_settings_give_the_same_bytes(demo_mar: Path, tmp_path: Path) -> None:
    target = tmp_path / "same.mar"
    write_variant(demo_mar, target, {}, {})
    assert target.read_bytes() == demo_mar.read_bytes()
    with pytest.raises(LoadError, match="exists already"):
        write_variant(demo_mar, target, {}, {})
