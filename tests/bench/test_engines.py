import re

import pytest

from bench import engines

ROW = r"\| test_efficientnet \| float32 \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|"


def test_converted_and_frozen_are_compared_in_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--architecture", "test_efficientnet", "--precision", "float32", "--batch", "1", "--seconds", "0.01"]
    assert engines.main(flags) == 0
    header, line, row = capsys.readouterr().out.splitlines()
    assert header == "| batches of 1 | precision | frozen, ms an image | converted, ms an image | ratio |"
    assert line == "|---|---|---|---|---|"
    assert re.fullmatch(ROW, row), row


def test_an_unknown_architecture_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--architecture", "no_such_network"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "no_such_network" in error
