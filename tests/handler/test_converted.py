"""A converted network: the same scores, tried before it is relied on, and of nothing but this archive."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handler import converted
from handler.classifier import Classifier, Share
from handler.contents import METADATA_FILE, PREPROCESSING_FILE, PROOFS, WEIGHTS_FILE
from handler.converted import CONSTANTS_FILE, NETWORK_FILE
from handler.errors import LoadError

CPU = torch.device("cpu")


@pytest.mark.parametrize("workers", [1, 1024])  # all threads, and one
def test_scores_are_those_of_the_network_for_any_batch(tiny_directory: Path, workers: int) -> None:
    share = Share(workers=workers)
    plain, fast = (Classifier.load(tiny_directory, CPU, share, engine=name) for name in ("eager", "auto"))
    assert fast.engine == "openvino"
    example = plain.example(9)
    for images in (1, 2, 4, 9):
        expected = plain.model.scores(example[:images])
        np.testing.assert_allclose(fast.model.scores(example[:images]), expected, atol=1e-5)


def test_bfloat16_is_near_and_float16_runs_frozen(tiny_directory: Path) -> None:
    plain, near = (Classifier.load(tiny_directory, CPU, precision=name) for name in ("float32", "bfloat16"))
    example = plain.example(2)
    assert near.engine == "openvino"
    np.testing.assert_allclose(near.model.scores(example), plain.model.scores(example), atol=0.05)
    assert Classifier.load(tiny_directory, CPU, precision="float16").engine == "frozen"


def test_a_worker_imports_little_and_outlives_a_signal(tiny_directory: Path) -> None:
    """Neither timm nor what comes with it. After the last network is gone, OpenVINO leaves the thread a stack for
    signals that it has freed, unless one core stays."""
    program = """
import gc, os, signal, sys
from pathlib import Path
import handler.adapter
import torch
from handler.classifier import Classifier
Classifier.load(Path(sys.argv[1]), torch.device("cpu")).warm_up()
for name in "timm", "torchvision", "torch._dynamo", "openvino.torch", "openvino.tools", "openvino_telemetry":
    if sys.modules.get(name) is not None:
        print(name)
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    command = [sys.executable, "-c", program, str(tiny_directory)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "heard\n"


def test_it_is_tried_once_for_all_workers(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Classifier.load(tiny_directory, CPU)
    assert [path.name for path in (tiny_directory / PROOFS).iterdir()] == ["float32"]
    monkeypatch.setattr(converted, "_run_apart", lambda *_: pytest.fail("tried again"))
    assert Classifier.load(tiny_directory, CPU).contents_sha256 == before.contents_sha256


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGFPE)", "a try was ended by Floating point exception"),
        ("raise SystemExit('a try gave nothing')", "a try gave nothing"),
        ("import time; time.sleep(60)", "a try did not end within 1 s"),
    ],
)
def test_where_it_crashes_or_hangs_every_worker_runs_frozen(
    tiny_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
    reason: str,
) -> None:
    run = subprocess.run
    monkeypatch.setattr(converted, "PROOF_SECONDS", 1.0)
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run([sys.executable, "-c", program], **options))
    for _ in range(2):
        assert Classifier.load(tiny_directory, CPU).engine == "frozen"
    said = f"engine: openvino can't be used: {tiny_directory / NETWORK_FILE}: {reason}"
    assert caplog.messages == [said, said]
    with pytest.raises(LoadError, match=rf"handler: engine: openvino, expected auto: .*{NETWORK_FILE}: {reason}"):
        Classifier.load(tiny_directory, CPU, engine="openvino")


@pytest.mark.parametrize("damage", ["<net", "<net name='x' version='11'><layers/><edges/></net>"])
def test_a_file_that_is_no_network_is_not_used(
    tiny_directory: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tiny_directory / NETWORK_FILE).write_text(damage)
    assert Classifier.load(tiny_directory, CPU).engine == "frozen"
    [message] = caplog.messages
    assert message.startswith(f"engine: openvino can't be used: {tiny_directory / NETWORK_FILE}: ")


def test_what_may_pass_is_not_kept(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"  # as the kernel does where memory is short
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run([sys.executable, "-c", program], **options))
    assert Classifier.load(tiny_directory, CPU).engine == "frozen"
    monkeypatch.undo()
    assert Classifier.load(tiny_directory, CPU).engine == "openvino"


def test_without_its_constants_it_is_not_used(tiny_directory: Path) -> None:
    (tiny_directory / CONSTANTS_FILE).unlink()
    assert Classifier.load(tiny_directory, CPU).engine == "frozen"


def test_where_nothing_can_be_written_it_is_tried_each_time(tiny_directory: Path) -> None:
    (tiny_directory / PROOFS).write_text("a file where the folder should be")
    assert [Classifier.load(tiny_directory, CPU).engine for _ in range(2)] == ["openvino", "openvino"]


@pytest.mark.parametrize("changed", ["preprocessing", "weights", "model_kwargs"])
def test_of_something_else_it_stops_the_load(tiny_directory: Path, changed: str) -> None:
    changes: dict[str, Any] = {}
    if changed == "preprocessing":
        path = tiny_directory / PREPROCESSING_FILE
        content = json.loads(path.read_text())
        content["transform"]["transforms"][-2]["mean"] = [0.4, 0.4, 0.4]
        path.write_text(json.dumps(content))
    elif changed == "weights":
        with (tiny_directory / WEIGHTS_FILE).open("ab") as file:
            file.write(b" ")
        (tiny_directory / METADATA_FILE).unlink()
    else:
        changes["model_kwargs"] = {"drop_rate": 0.1}
    refused = f"{NETWORK_FILE}: converted from other weights, preprocessing, architecture or number of labels, expected"
    with pytest.raises(LoadError, match=refused):
        Classifier.load(tiny_directory, CPU, **changes)
