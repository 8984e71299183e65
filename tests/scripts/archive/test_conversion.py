"""Networks are converted when an archive is built; one that can't be is served by another engine."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from samples import Asking, Counting

from handler.classifier import Classifier
from handler.converted import CONSTANTS_FILE, NETWORK_FILE
from handler.model import Model
from scripts.archive import conversion
from scripts.archive.conversion import convert_network
from scripts.archive.recipe import Recipe
from scripts.archive.stage import PLAIN
from scripts.build_archive import build_archive

CPU = torch.device("cpu")


def _files(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in (NETWORK_FILE, CONSTANTS_FILE)
            if (directory / name).exists()}  # fmt: skip


def test_a_second_conversion_gives_the_same_files(tiny_directory: Path) -> None:
    before, root = _files(tiny_directory), logging.getLogger()
    logs = root.level, root.handlers[:], root.filters[:]
    assert len(before) == 2
    assert convert_network(tiny_directory, Classifier.load(tiny_directory, CPU, **PLAIN)) is None
    assert _files(tiny_directory) == before
    assert (root.level, root.handlers, root.filters) == logs, "OpenVINO sets up the logs of the whole process"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Asking(), "openvino: can't convert this architecture: "),
        (Counting(), r"network.xml: a try gave \(2, 3\) for 1 images"),
    ],
)
def test_why_a_network_is_not_converted(tiny_directory: Path, network: torch.nn.Module, reason: str) -> None:
    plain = replace(Classifier.load(tiny_directory, CPU, **PLAIN), model=Model(network, CPU))
    said = convert_network(tiny_directory, plain)
    assert said is not None
    assert re.search(reason, said)
    assert "\n" not in said
    assert _files(tiny_directory) == {}


def test_the_build_says_so(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    build_archive(Recipe(tiny_checkpoint, "tiny"), tmp_path / "tiny.mar")
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("engine ")]
    assert line.startswith("engine     frozen, as openvino: scores of a batch of 2 differ by 0.0000")
