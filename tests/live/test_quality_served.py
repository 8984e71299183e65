"""The whole way with a real server: score, calibrate, evaluate, build, serve, and score again over HTTP."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import CHELSEA, PATIENCE

from scripts import calibrate, evaluate, score
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe
from scripts.build_demo_data import write_data
from scripts.quality.fitting import calibrated
from scripts.quality.parquet import read_scores
from scripts.server.torchserve import TorchServe

NAME = "calibrated"


@pytest.mark.slow
def test_what_was_measured_is_what_is_served(
    server: TorchServe, store: Path, demo_mar: Path, demo_checkpoint: Path, tmp_path: Path
) -> None:
    data, scores, fitted, card = (tmp_path / name for name in ("data", "scores", "calibration.json", "card.json"))
    listed = write_data(data)
    assert score.main([str(demo_mar), "--data", str(listed), "--output", str(scores)]) == 0
    assert calibrate.main([str(scores), "--output", str(fitted)]) == 0
    flags = ["--calibration", str(fitted), "--card", str(card), "--resamples", "20"]
    assert evaluate.main([str(scores), *flags]) == 0
    target = store / f"{NAME}.mar"
    recipe = replace(demo_recipe(demo_checkpoint), name=NAME, version="1.1", calibration=fitted, card=card)
    build_archive(recipe, target)

    server.client.register(target.name, PATIENCE)
    try:
        described = server.client.details(NAME, "1.1", PATIENCE)
        named = server.client.scores(NAME, "1.1", CHELSEA, PATIENCE)
        url = f"{server.inference}/predictions/{NAME}"
        again = ["--url", url, "--management", server.management, "--data", str(listed)]
        assert score.main([*again, "--output", str(tmp_path / "served")]) == 0
    finally:
        server.client.unregister(NAME, "1.1", PATIENCE)
        target.unlink()

    content = json.loads(fitted.read_text())
    assert described["calibration"] == content["calibration"]
    assert {each["name"]: each["threshold"] for each in described["labels"]} == content["thresholds"]
    # Java leaves out what is null.
    said = {name: value for name, value in content["provenance"].items() if value is not None}
    assert described["metadata"]["calibration"] == said
    assert described["metadata"]["card"] == json.loads(card.read_text())
    assert named["tabby"] > content["thresholds"]["tabby"]

    before, after = read_scores(scores), read_scores(tmp_path / "served")
    np.testing.assert_allclose(after.scores, calibrated(before.scores, after.calibration), atol=1e-4)
    changed = (after.scores >= after.thresholds) != (before.scores >= before.thresholds)
    assert changed.any(), "the thresholds do something"
    assert (after.truth == before.truth).all()
