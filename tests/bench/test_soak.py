"""A short soak; `make soak` is the long one."""

import json
from pathlib import Path

import pytest
from PIL import Image
from samples import PHOTOS, first_free_port

from bench import soak


@pytest.mark.slow
def test_a_short_soak(demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "--archive": demo_mar,
        "--photo": PHOTOS / "chelsea.png",
        "--requests": 400,
        "--max-growth": 500,  # Java is still warming up
        "--port": first_free_port(5),
        "--output": tmp_path,
    }
    assert soak.main([str(part) for pair in options.items() for part in pair]) == 0, capsys.readouterr()
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["statuses"] == {"200": 350, "400": 10, "415": 10, "422": 30}
    assert (result["requests"], result["wrong"], result["workers_restarted"]) == (400, 0, False)
    assert all(sample["java_mb"] > 50 and sample["workers_mb"] > 200 for sample in result["samples"])
    with Image.open(tmp_path / "soak.png") as image:
        assert image.width > 500
