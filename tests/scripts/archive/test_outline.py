"""What is checked of an archive before a server takes it."""

import shutil
import zipfile
from pathlib import Path

import pytest

from handler.classifier import Classifier
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.archive.outline import check_archive, read_golden_inputs, read_outline


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
        (
            "handler/__init__.py",
            None,
            "handler/__init__.py: missing, expected the package handler/",
        ),
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


def test_an_archive_without_the_package_is_refused_by_its_outline_too(tiny_directory: Path, tmp_path: Path) -> None:
    """The package is installed beside the server, so that a worker would import that one in its place."""
    shutil.rmtree(tiny_directory / "handler")
    archive = read_archive(_pack(tiny_directory, tmp_path / "bare.mar"))
    with pytest.raises(LoadError, match=r"bare\.mar: handler/__init__\.py: missing, .* --extra-files DIR, where DIR"):
        read_outline(archive)


def test_the_outline_and_the_golden_inputs_alone(demo_mar: Path) -> None:
    outline = read_outline(read_archive(demo_mar))
    assert outline.server.batchSize == 8
    assert [each.name for each in read_golden_inputs(outline)] == ["chelsea.png", "coffee.png", "rocket.jpg"]
