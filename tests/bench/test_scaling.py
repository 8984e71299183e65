import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from samples import PHOTOS

from bench import scaling


def test_the_slope_is_the_exponent_of_the_growth() -> None:
    assert scaling.slope({size: 3 * size for size in (1, 2, 4, 8, 16, 32)}) == 1
    assert scaling.slope({size: size**2 / 7 for size in (1, 2, 4, 8, 16, 32)}) == 2


@pytest.mark.slow
def test_a_short_run(demo_mar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCHES", "MEGAPIXELS", "LABELS"):
        monkeypatch.setattr(scaling, name, (1, 2, 3, 4))
    threads = torch.get_num_threads()
    try:
        photo = str(PHOTOS / "chelsea.png")
        flags = ["--archive", str(demo_mar), "--photo", photo, "--output", str(tmp_path), "--rounds", "1"]
        assert scaling.main(flags) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert {title: list(each) for title, each in found.items()} == {
        "images in a batch": ["forward pass"],
        "megapixels": ["JPEG, scaled", "JPEG, exact", "PNG"],
        "labels": ["decision and answer, all scores"],
    }
    with Image.open(tmp_path / "scaling.png") as plot:
        assert plot.width > 1000
