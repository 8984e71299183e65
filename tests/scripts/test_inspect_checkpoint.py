import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import TINY, TINY_LABELS, random_weights, save_checkpoint

from scripts import inspect_checkpoint
from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.build_archive import main as build_main

# As a training script of this kind writes it, NumPy's numbers and all.
TRAINED: dict[str, Any] = {
    "epoch": 12,
    "model_state_dict": random_weights(),
    "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": np.float64(1e-4)}]},
    "best_f1": np.float64(0.83),
    "class_names": TINY_LABELS,
    "thresholds": np.array([0.4, 0.5, 0.6]),
    "config": {"model_name": TINY, "img_size": 160, "epochs": np.int64(30)},
}


def inspected(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = inspect_checkpoint.main([str(path), "--json", *flags])
    return code, {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_what_a_trainer_wrote_can_be_packaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_checkpoint(tmp_path / "best_model.pt", TRAINED)
    code, found = inspected(path, capsys)
    assert code == 0
    assert found["weights"]["found"].startswith("80 tensors under model_state_dict, 0.31 million numbers, float32")
    assert found["architecture"]["found"] == TINY
    assert found["labels"]["found"] == "3: ant, bee, cat"
    assert found["thresholds"]["found"] == "0.4 to 0.6"
    assert found["image size"]["found"] == "160 x 160 pixels (height x width)"
    assert found["preprocessing"]["state"] == "default"
    build_archive(Recipe(path, "best"), tmp_path / "best.mar")


def test_the_command_packages_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "my labels.txt"
    labels.write_text("\n".join(TINY_LABELS))
    path = save_checkpoint(tmp_path / "best of 3.ckpt", {"state_dict": random_weights(), "teacher": random_weights()})
    code, found = inspected(path, capsys)
    assert code == 1
    assert found["command"]["found"].endswith("--name best-of-3 --architecture NAME --labels FILE")
    flags = ["--architecture", TINY, "--labels", str(labels), "--state-dict-key", "teacher"]
    code, found = inspected(path, capsys, *flags)
    assert code == 0
    assert "80 tensors under teacher" in found["fit"]["found"]
    python, script, *command = shlex.split(found["command"]["found"])
    assert (python, script) == (".venv/bin/python", "scripts/build_archive.py")
    assert build_main([*command, "--output", str(tmp_path / "a.mar")]) == 0


@pytest.mark.parametrize(
    ("left_out", "what", "remedy"),
    [
        ("config", "architecture", "build_archive --architecture NAME"),
        ("class_names", "labels", "build_archive --labels FILE"),
    ],
)
def test_what_is_missing_is_said_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: str, what: str, remedy: str
) -> None:
    content = {key: value for key, value in TRAINED.items() if key != left_out}
    code, found = inspected(save_checkpoint(tmp_path / "a.pt", content), capsys)
    assert code == 1
    assert (found[what]["state"], found[what]["remedy"]) == ("missing", remedy)


@pytest.mark.parametrize(
    ("change", "what", "message"),
    [
        ({"class_names": ["ant", "bee"]}, "fit", "2 labels, expected 3: the rows of head.weight"),
        ({"class_names": ["ant", "ant", "cat"]}, "labels", "'ant'"),
        ({"config": {"model_name": "resnet18"}}, "fit", "missing, expected the 122 tensors"),
        ({"config": {"model_name": "resnet1000"}}, "fit", "expected a name that timm"),
        ({"thresholds": [0.4, 2]}, "thresholds", "2 thresholds, expected 3"),
        ({"image_size": "large"}, "image size", "'large', expected pixels: SIDE, [HEIGHT, WIDTH]"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], what: str, message: str
) -> None:
    code, found = inspected(save_checkpoint(tmp_path / "a.pt", {**TRAINED, **change}), capsys)
    assert code == 1
    assert found[what]["state"] == "wrong"
    assert message in found[what]["found"]


def test_weights_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_checkpoint.main([str(save_checkpoint(tmp_path / "a.pt", random_weights()))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       weights        80 tensors at the top")
    assert lines[1] == "missing  architecture   not given; build_archive --architecture NAME"
    assert "scripts/calibrate.py finds better ones" in lines[3]


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pt").write_text("no")
    assert inspect_checkpoint.main([str(tmp_path / "a.pt")]) == 1
    assert capsys.readouterr().out.startswith("wrong    file           ")
    path = save_checkpoint(tmp_path / "b.pt", {"model": torch.nn.Linear(1, 1)})
    assert inspect_checkpoint.main([str(path)]) == 1
    assert (
        "a whole network, a pickled torch.nn.modules.linear.Linear; where it was trained, run: import torch; "
        in capsys.readouterr().out
    )
