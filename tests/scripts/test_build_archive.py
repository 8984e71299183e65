"""The command as a person runs it: stage, pack and command line together."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import pytest
import torch
import yaml
from albumentations.pytorch import ToTensorV2
from samples import COFFEE, TINY, TINY_LABELS, chelsea, random_weights, save_checkpoint
from synthetic import EAGER

from handler.classifier import Classifier
from handler.errors import LoadError
from handler.server_settings import read_server_settings
from scripts.build_archive import build_archive, main
from scripts.build_demo import demo_recipe
from scripts.paths import ROOT


def _build(checkpoint: Path, target: Path, *flags: str) -> int:
    return main(["--checkpoint", str(checkpoint), "--name", "tiny", "--output", str(target), *flags])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _open(mar: Path, directory: Path) -> Classifier:
    with zipfile.ZipFile(mar) as archive:
        archive.extractall(directory)
    return Classifier.load(directory, torch.device("cpu"))


@pytest.fixture
def unconverted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes the most time of a build, for what has nothing to do with it."""
    monkeypatch.setattr("scripts.archive.stage.convert_network", lambda *_: "left out")


def test_what_the_archive_holds(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert _build(tiny_checkpoint, tmp_path / "tiny.mar", "--licence", "MIT", "--notes", "for tests") == 0
    with zipfile.ZipFile(tmp_path / "tiny.mar") as mar:
        names = set(mar.namelist())
        manifest = json.loads(mar.read("MAR-INF/MANIFEST.json"))
        metadata = json.loads(mar.read("metadata.json"))
        weights = mar.read("model.safetensors")
    assert names >= {
        *("adapter.py", "handler/adapter.py", "handler/decode.py", "model.safetensors", "model-config.yaml"),
        *("index_to_name.json", "thresholds.json", "preprocessing.json", "metadata.json", "golden.json"),
        *("golden/gradient.bmp", "golden/noise.bmp"),
    }
    assert not [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".pyc"))]
    assert manifest["model"]["handler"] == "adapter.py"
    assert metadata["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert metadata["labels"] == TINY_LABELS
    assert (metadata["licence"], metadata["notes"], metadata["architecture"]) == ("MIT", "for tests", TINY)
    assert metadata["built_with"]["torch"] == torch.__version__.split("+")[0]


def test_defaults_come_from_the_checkpoint(tiny_mar: Path, tmp_path: Path) -> None:
    classifier = _open(tiny_mar, tmp_path)
    assert classifier.labels == tuple(TINY_LABELS)
    assert classifier.thresholds.tolist() == [0.4, 0.5, 0.6]
    assert classifier.input_shape == (3, 160, 160)


def test_same_inputs_same_bytes(tiny_checkpoint: Path, tiny_mar: Path, tmp_path: Path) -> None:
    """Also at another time, from another directory, in another order of files, in another process. What stands at
    $TMPDIR/<model-name> stays, which torch-model-archiver would remove."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("years of work")
    command = [sys.executable, str(ROOT / "scripts/build_archive.py"), "--checkpoint", str(tiny_checkpoint)]
    subprocess.run(
        [*command, "--name", "tiny", "--output", str(tmp_path / "b.mar")],
        cwd=tmp_path,
        env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5", "TMPDIR": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "years of work"
    assert _digest(tiny_mar) == _digest(tmp_path / "b.mar")


@pytest.mark.usefixtures("unconverted")
def test_the_time_can_be_given(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    _build(tiny_checkpoint, tmp_path / "tiny.mar")
    with zipfile.ZipFile(tmp_path / "tiny.mar") as mar:
        assert json.loads(mar.read("MAR-INF/MANIFEST.json"))["createdOn"] == "14/11/2023 22:13:20"
        assert {info.date_time for info in mar.infolist()} == {(2023, 11, 14, 22, 13, 20)}


@pytest.mark.usefixtures("unconverted")
def test_other_inputs_other_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for thresholds in ("0.4", "0.41"):
        _build(tiny_checkpoint, tmp_path / f"{thresholds}.mar", "--thresholds", thresholds)
    assert _digest(tmp_path / "0.4.mar") != _digest(tmp_path / "0.41.mar")


@pytest.mark.usefixtures("unconverted")
def test_everything_from_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = A.Compose([A.Resize(64, 64), A.Normalize(), ToTensorV2()])
    A.save(pipeline, tmp_path / "pipeline.yaml", data_format="yaml")
    save_checkpoint(tmp_path / "best.pth", random_weights("vit_tiny_patch16_224", 2, img_size=64))
    (tmp_path / "coffee.png").write_bytes(COFFEE)
    recipe = {
        "name": "vit",
        "version": "3.1",
        "checkpoint": "best.pth",
        "architecture": "vit_tiny_patch16_224",
        "labels": ["yes", "no"],
        "thresholds": {"yes": 0.7, "no": 0.2},
        "preprocessing": "pipeline.yaml",
        "golden": ["coffee.png"],
        "handler": {"model_kwargs": {"img_size": 64}, "fallback": "best_label", "limits": {"max_images": 2}},
        "torchserve": {"batchSize": 4, "maxBatchDelay": 20},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["--recipe", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "vit.mar")]) == 0
    classifier = _open(tmp_path / "vit.mar", tmp_path / "vit")
    assert classifier.input_shape == (3, 64, 64)
    server = read_server_settings(tmp_path / "vit")
    assert (server.batchSize, server.maxBatchDelay) == (4, 20)
    assert (classifier.settings.fallback, classifier.settings.limits.max_images) == ("best_label", 2)
    assert json.loads((tmp_path / "vit" / "golden.json").read_text()).keys() == {"coffee.png"}


@pytest.mark.usefixtures("unconverted")
def test_pipeline_saved_as_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    A.save(A.Compose([A.Resize(160, 160), A.Normalize(), ToTensorV2()]), tmp_path / "p.json")
    assert _build(tiny_checkpoint, tmp_path / "tiny.mar", "--preprocessing", str(tmp_path / "p.json")) == 0


def _text(name: str, content: str) -> Callable[[Path], list[str]]:
    def write(directory: Path) -> list[str]:
        (directory / name).write_text(content)
        return [f"--{name.split('.')[0]}", str(directory / name)]

    return write


def _pipeline(*steps: Any) -> Callable[[Path], list[str]]:
    def write(directory: Path) -> list[str]:
        A.save(A.Compose(list(steps)), directory / "pipeline.json")
        return ["--preprocessing", str(directory / "pipeline.json")]

    return write


def _recipe(content: dict[str, Any]) -> Callable[[Path], list[str]]:
    def write(directory: Path) -> list[str]:
        (directory / "recipe.yaml").write_text(yaml.safe_dump(content))
        return ["--recipe", str(directory / "recipe.yaml")]

    return write


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (lambda _: ["--checkpoint", "gone.pt"], "gone.pt: missing, expected a checkpoint"),
        (lambda _: ["--architecture", "resnet19"], "recipe: architecture: resnet19, expected a name that timm"),
        (lambda _: ["--architecture", "resnet18"], "tiny.pt: conv1.weight: missing, expected the 122 tensors"),
        (lambda _: ["--name", "no name"], "flags: name: 'no name', expected letters"),
        (lambda _: ["--labels", "gone.txt"], "gone.txt: missing"),
        (_text("labels.txt", "ant\nbee"), "labels.txt: 2 labels, expected 3: the rows of head.weight"),
        (lambda _: ["--thresholds", "1.0"], "recipe: thresholds: 1.0, expected a number above 0 and below 1"),
        (lambda _: ["--thresholds", "gone.json"], "gone.json: missing"),
        (
            _text("thresholds.json", '{"ant": 0.5, "bee": 0.5, "cat": 0}'),
            "thresholds.json: 'cat': 0, expected a number",
        ),
        (_text("thresholds.json", "[0.5, 0.5]"), "thresholds.json: 2 thresholds, expected 3"),
        (lambda _: ["--preprocessing", "gone.json"], "gone.json: missing"),
        (_text("preprocessing.json", "{}"), "preprocessing.json: transform: missing"),
        (_pipeline(A.Resize(8, 8), A.Normalize(), ToTensorV2()), "which the architecture refuses"),
        (_pipeline(A.RandomCrop(160, 160), A.Normalize(), ToTensorV2()), "pipeline.json: transform: "),
        (lambda _: ["--golden", "gone.jpg"], "gone.jpg: missing, expected a golden image"),
        (lambda _: ["--golden", __file__], "test_build_archive.py: golden: not_an_image"),
        (lambda _: ["--state-dict-key", "ema"], "tiny.pt: ema: no such weights there, the file has state_dict"),
        (_recipe({"batchsize": 5}), "recipe.yaml: batchsize: unknown key"),
        (_recipe({"handler": {"topk": 5}}), "recipe: handler.topk: unknown key"),
        (
            _recipe({"handler": {"limits": {"max_images": 0}}}),
            "recipe: handler.limits.max_images: 0, expected an integer",
        ),
        (_recipe({"torchserve": {"batchSize": 0}}), "recipe: torchserve.batchSize: 0, expected an integer from 1"),
    ],
)
def test_anything_wrong_stops_with_one_line_and_no_file(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: Callable[[Path], list[str]],
    message: str,
) -> None:
    store = tmp_path / "store"
    assert _build(tiny_checkpoint, store / "tiny.mar", *flags(tmp_path)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not store.exists() or not list(store.iterdir())


def test_a_bare_state_dict_says_what_else_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_checkpoint(tmp_path / "best.pt", random_weights())
    assert _build(path, tmp_path / "tiny.mar") == 1
    assert "best.pt: architecture: not in the checkpoint" in capsys.readouterr().err
    assert _build(path, tmp_path / "tiny.mar", "--architecture", TINY) == 1
    assert "best.pt: labels: not in the checkpoint" in capsys.readouterr().err


@pytest.mark.usefixtures("unconverted")
def test_an_existing_archive_is_kept_unless_forced(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "store" / "tiny.mar"
    target.parent.mkdir()
    target.write_bytes(b"precious")
    assert _build(tiny_checkpoint, target) == 1
    assert "tiny.mar: exists already, expected a new name or --force" in capsys.readouterr().err
    assert _build(tiny_checkpoint, target, "--force", "--thresholds", "7") == 1
    assert target.read_bytes() == b"precious"
    assert _build(tiny_checkpoint, target, "--force") == 0
    assert zipfile.is_zipfile(target)
    assert list(target.parent.iterdir()) == [target]


def test_stage_refuses_a_directory_in_use(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--checkpoint", str(tiny_checkpoint), "--name", "tiny", "--stage", str(tmp_path)]) == 1
    assert "is not empty, expected a new or empty directory" in capsys.readouterr().err


def test_a_stage_that_fails_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        flags = ["--checkpoint", str(tiny_checkpoint), "--name", "tiny", "--golden", __file__]
        assert main([*flags, "--stage", str(tmp_path / name)]) == 1
        assert "golden: not_an_image" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


@pytest.mark.usefixtures("unconverted")
def test_stage_prints_a_plain_command_that_builds_the_archive(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = tmp_path / "stage"
    assert main(["--checkpoint", str(tiny_checkpoint), "--name", "tiny", "--stage", str(stage)]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith("torch-model-archiver --model-name tiny --version 1.0 ")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    subprocess.run(command, shell=True, cwd=tmp_path, env=environment, check=True)
    classifier = _open(tmp_path / "tiny.mar", tmp_path / "unpacked")
    classifier.self_check(tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "adapter.py").is_file()


@pytest.mark.parametrize("resize", ["area", "pillow"])
@pytest.mark.parametrize(("tolerance", "decode"), [(0.05, "scaled"), (1e-4, "exact")])
def test_decoding_is_scaled_where_the_golden_photos_score_the_same(
    demo_checkpoint: Path,
    tmp_path: Path,
    tolerance: float,
    decode: str,
    resize: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo = tmp_path / "large.jpg"
    photo.write_bytes(chelsea(4032, quality=50))
    recipe = replace(
        demo_recipe(demo_checkpoint), golden=[photo], handler={**EAGER, "golden_tolerance": tolerance}, resize=resize
    )
    build_archive(recipe, tmp_path / "demo.mar")
    assert _open(tmp_path / "demo.mar", tmp_path / "unpacked").settings.decode == decode
    assert f"decode     {decode}\n" in capsys.readouterr().out


@pytest.mark.parametrize("golden", [[], [chelsea(4032, "PNG")], [chelsea(640)]])
def test_only_a_jpeg_that_is_decoded_smaller_proves_scaled_decoding(
    demo_checkpoint: Path, tmp_path: Path, golden: list[bytes]
) -> None:
    for number, photo in enumerate(golden):
        (tmp_path / f"{number}.jpg").write_bytes(photo)
    photos = [tmp_path / f"{number}.jpg" for number in range(len(golden))]
    recipe = replace(demo_recipe(demo_checkpoint), golden=photos, handler={**EAGER, "golden_tolerance": 0.5})
    build_archive(recipe, tmp_path / "demo.mar")
    assert _open(tmp_path / "demo.mar", tmp_path / "unpacked").settings.decode == "exact"


def test_what_the_recipe_says_of_decoding_is_not_changed(demo_checkpoint: Path, tmp_path: Path) -> None:
    photo = tmp_path / "large.jpg"
    photo.write_bytes(chelsea(4032, quality=50))
    handler = {**EAGER, "golden_tolerance": 1e-4, "decode": "scaled"}
    with pytest.raises(LoadError, match="golden self-check failed"):
        build_archive(replace(demo_recipe(demo_checkpoint), golden=[photo], handler=handler), tmp_path / "demo.mar")
