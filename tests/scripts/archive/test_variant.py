import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from archives import edited

from handler.errors import LoadError
from scripts.archive.manifest import find_archives
from scripts.archive.outline import check_archive
from scripts.archive.variant import write_variant
from scripts.tune import tuned_version


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


def test_an_older_archive_gets_the_package_that_fits_its_new_adapter(demo_mar: Path, tmp_path: Path) -> None:
    def age(file: str, content: bytes) -> bytes:
        return b"# of an older version\n" if file == "handler/service.py" else content

    target = tmp_path / "new.mar"
    write_variant(edited(demo_mar, tmp_path / "old.mar", age), target, {}, {})
    assert target.read_bytes() == demo_mar.read_bytes()


def test_another_version_stands_beside_the_original_and_counts_as_newer(demo_mar: Path, tmp_path: Path) -> None:
    shutil.copy(demo_mar, tmp_path)
    tuned = tmp_path / "tuned.mar"
    write_variant(demo_mar, tuned, {"decode": "exact"}, {}, version=tuned_version("1.0"))
    assert [str(archive) for archive in find_archives(tmp_path)] == ["cat-breeds 1.0-tuned", "cat-breeds 1.0"]
    checked = check_archive(tuned)
    with zipfile.ZipFile(demo_mar) as old, zipfile.ZipFile(tuned) as new:
        before, after = (json.loads(mar.read("metadata.json")) for mar in (old, new))
    assert after == {**before, "version": checked.archive.version}


def test_a_version_that_no_url_can_hold_is_refused(demo_mar: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"version: 'a/b', expected letters"):
        write_variant(demo_mar, tmp_path / "x.mar", {}, {}, version="a/b")


@pytest.mark.parametrize(
    ("handler", "torchserve", "message"),
    [
        ({"golden_tolerance": 0.9}, {}, "handler.golden_tolerance: 0.9, expected a number from 1e-06 to 0.5"),
        ({"engine": "fast"}, {}, "handler.engine: fast, expected auto or openvino or frozen or eager"),
        ({"speed": 1}, {}, "handler.speed: unknown key"),
        ({"limits": {"max_images": 0}}, {}, "handler.limits.max_images: 0, expected an integer from 1 to 1024"),
        ({}, {"batchSize": 0}, "batchSize: 0, expected an integer from 1 to 1024"),
    ],
)
def test_settings_that_could_not_be_read_back_are_refused(
    demo_mar: Path, tmp_path: Path, handler: dict[str, Any], torchserve: dict[str, Any], message: str
) -> None:
    target = tmp_path / "x.mar"
    with pytest.raises(LoadError) as caught:
        write_variant(demo_mar, target, handler, torchserve)
    assert str(caught.value).startswith(f"{demo_mar}: model-config.yaml: {message}")
    assert not target.exists()
