"""The command, on overconfident scores, and the archive that is built from its file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import CHELSEA, TINY_LABELS
from synthetic import EAGER, LABELS, SHA, calibrated_scores, origin, sharpened, tiny_archive, write_scores

from handler.calibration import Calibration, parse_calibration
from handler.classifier import Classifier
from handler.errors import LoadError
from scripts import calibrate
from scripts.archive.recipe import Recipe
from scripts.archive.unpacking import unpacked
from scripts.build_archive import build_archive
from scripts.quality.fitted import fit_settings
from scripts.quality.fitting import calibrated
from scripts.quality.objective import NEVER

CPU = torch.device("cpu")
SCORES, TRUTH = calibrated_scores(3_000)
OVERCONFIDENT = sharpened(SCORES, 2.5)


def run(scores: Path, output: Path, *flags: str) -> dict[str, Any]:
    assert calibrate.main([str(scores), "--output", str(output), "--date", "2026-01-02", *flags]) == 0
    content: dict[str, Any] = json.loads(output.read_text())
    return content


def test_what_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(write_scores(tmp_path / "scores", OVERCONFIDENT, TRUTH), tmp_path / "a.json")
    provenance = found["provenance"]
    assert found["calibration"]["ant"]["scale"] == pytest.approx(1 / 2.5, rel=0.1)
    assert (provenance["date"], provenance["objective"], provenance["images"]) == ("2026-01-02", "F1", 3_000)
    assert provenance["model"] == {"name": "cats", "version": "1.0", "sha256": SHA}
    assert provenance["labels"]["ant"]["positives"] == int((TRUTH[:, 0] == 1).sum())
    quality = provenance["quality"]
    assert quality["out of fold"]["micro_f1"] > quality["as scored"]["micro_f1"]
    assert quality["out of fold"]["calibration_error"] < quality["as scored"]["calibration_error"] / 2
    assert "out of fold" in capsys.readouterr().out


def test_the_same_scores_give_the_same_file(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores", OVERCONFIDENT, TRUTH)
    assert run(scores, tmp_path / "a.json") == run(scores, tmp_path / "b.json")


@pytest.mark.parametrize(
    ("flags", "objective"),
    [(("--beta", "2"), "F2"), (("--cost", "5"), "a miss costs 5")],
)
def test_objectives(tmp_path: Path, flags: tuple[str, ...], objective: str) -> None:
    found = run(write_scores(tmp_path / "scores", SCORES, TRUTH), tmp_path / "a.json", *flags, "--method", "none")
    assert found["provenance"]["objective"] == objective
    if objective.startswith("a miss"):  # of calibrated scores: where five times the share is more than the rest
        np.testing.assert_allclose(list(found["thresholds"].values()), 1 / 6, atol=0.06)


def test_labels_with_little_support_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = TRUTH.copy()
    truth[:, 1] = 0
    truth[:5, 1] = 1
    found = run(write_scores(tmp_path / "scores", SCORES, truth), tmp_path / "a.json")
    own = {name: label["own"] for name, label in found["provenance"]["labels"].items()}
    assert own["bee"] == 0.5 < 0.9 < own["ant"]
    assert "threshold near that of all labels, as fewer than 10 images are with or without the label: bee\n" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("otherwise", [None, 0.9])
def test_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str], otherwise: float | None) -> None:
    """For a label whose scores are noise, none can be made: it is not given, or from the threshold that was named."""
    rng = np.random.default_rng(1)
    scores = rng.beta(0.3, 0.5, (2_000, 3)).astype(np.float32)
    truth = (rng.random(scores.shape) < scores).astype(np.int8)
    scores[:, 2] = rng.random(len(scores))
    flags = [] if otherwise is None else ["--otherwise", str(otherwise)]
    found = run(write_scores(tmp_path / "s", scores, truth), tmp_path / "a.json", "--precision", "0.9", *flags)
    promise = found["provenance"]["promise"]
    assert promise == {
        "precision": 0.9,
        "confidence": 0.9,
        "of": "each label",
        "images": 2_000,
        "labels": ["ant", "bee"],
    }
    assert found["thresholds"]["cat"] == (NEVER if otherwise is None else otherwise)
    fired = calibrated(scores, parse_calibration(found["calibration"], LABELS, "")) >= list(
        found["thresholds"].values()
    )
    assert (((truth == 1) & fired).sum(axis=0)[:2] / fired.sum(axis=0)[:2] > 0.9).all()
    out = capsys.readouterr().out
    assert (
        "promised: a precision of 0.9 on new images for 2 of 3 labels, with a confidence of 0.9 for each label" in out
    )
    instead = "never given" if otherwise is None else "given from 0.9 on"
    assert f"{instead}, as 2000 images can't promise a precision of 0.9: cat" in out


def test_promises_of_all_labels_together_are_stricter(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(0.3, 0.5, (2_000, 3)).astype(np.float32)
    path = write_scores(tmp_path / "s", scores, (rng.random(scores.shape) < scores).astype(np.int8))
    alone, together = (
        run(path, tmp_path / f"{len(flags)}.json", "--recall", "0.9", *flags) for flags in ([], ["--together"])
    )
    assert together["provenance"]["promise"]["of"] == "all labels together"
    assert all(together["thresholds"][name] < alone["thresholds"][name] for name in LABELS)


def test_a_calibration_of_these_images_is_not_built_upon(tmp_path: Path) -> None:
    """The archive was calibrated on them: the fit begins with the bare network, so that each fold is without them."""
    first = run(write_scores(tmp_path / "bare", OVERCONFIDENT, TRUTH), tmp_path / "a.json")
    of = origin(calibration=first["calibration"], fit=fit_settings(first["provenance"]))
    served = calibrated(OVERCONFIDENT, parse_calibration(first["calibration"], LABELS, "")).astype(np.float32)
    again = run(write_scores(tmp_path / "served", served, TRUTH, of), tmp_path / "b.json")
    assert again["provenance"]["applied"] is None
    assert again["calibration"]["ant"]["scale"] == pytest.approx(first["calibration"]["ant"]["scale"], rel=1e-3)


def test_what_the_scores_had_already_is_kept(tmp_path: Path) -> None:
    """The archive was calibrated once: the file holds both steps, as it is for the bare network."""
    before = Calibration(np.full(3, 2.0), np.full(3, -0.5))
    of = origin(calibration=before.to_dict(LABELS))
    found = run(write_scores(tmp_path / "scores", OVERCONFIDENT, TRUTH, of), tmp_path / "a.json")
    bare = run(write_scores(tmp_path / "bare", OVERCONFIDENT, TRUTH), tmp_path / "b.json")
    scale = bare["calibration"]["ant"]["scale"]
    assert found["calibration"]["ant"] == {"scale": pytest.approx(2 * scale), "shift": pytest.approx(-0.5 * scale)}


def test_what_can_not_be_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = write_scores(tmp_path / "scores", SCORES[:4], TRUTH[:4])
    arguments = [str(scores), "--output", str(tmp_path / "a.json")]
    assert calibrate.main(arguments) == 1
    assert "4 images, expected at least one for each of 5 folds" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{}")
    assert calibrate.main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    for flags in (["--beta", "0"], ["--precision", "1.5"], ["--recall", "1"], ["--confidence", "0"], ["--folds", "1"]):
        with pytest.raises(SystemExit):
            calibrate.main([*arguments, *flags])


@pytest.fixture(scope="module")
def bare(tiny_checkpoint: Path) -> Classifier:
    with unpacked(tiny_archive(tiny_checkpoint)) as directory:
        return Classifier.load(directory, CPU)


def _calibration(directory: Path, sha256: str) -> Path:
    of = origin(
        labels=TINY_LABELS,
        thresholds=dict.fromkeys(TINY_LABELS, 0.5),
        calibration=Calibration.none(3).to_dict(TINY_LABELS),
        model={"name": "bare", "version": "1.0", "sha256": sha256},
    )
    run(write_scores(directory / "scores", OVERCONFIDENT, TRUTH, of), directory / "a.json")
    return directory / "a.json"


def test_the_archive_serves_what_was_fitted(bare: Classifier, tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = _calibration(tmp_path, bare.weights_sha256)
    content = json.loads(path.read_text())
    build_archive(Recipe(tiny_checkpoint, "fitted", calibration=path, handler=EAGER), tmp_path / "fitted.mar")
    with unpacked(tmp_path / "fitted.mar") as directory:
        fitted = Classifier.load(directory, CPU)
        fitted.self_check(directory)
    assert fitted.thresholds.tolist() == list(content["thresholds"].values())
    assert fitted.calibration.to_dict(TINY_LABELS) == content["calibration"]
    assert fitted.metadata["calibration"]["objective"] == "F1"
    [before], [after] = bare.classify([CHELSEA]), fitted.classify([CHELSEA])
    assert not isinstance(before, Exception)
    scale = content["calibration"]["ant"]["scale"]
    np.testing.assert_allclose(after, 1 / (1 + ((1 - before) / before) ** scale), atol=1e-5)  # type: ignore[arg-type]


def test_other_weights_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    recipe = Recipe(tiny_checkpoint, "tiny", calibration=_calibration(tmp_path, "7" * 64))
    with pytest.raises(LoadError, match=r"a\.json: model: sha256: 7777.*, expected that of these weights, "):
        build_archive(recipe, tmp_path / "tiny.mar")


def test_thresholds_beside_a_calibration_are_refused(bare: Classifier, tiny_checkpoint: Path, tmp_path: Path) -> None:
    recipe = Recipe(tiny_checkpoint, "x", calibration=_calibration(tmp_path, bare.weights_sha256), thresholds=0.3)
    with pytest.raises(LoadError, match="thresholds: beside a calibration, which brings its own"):
        build_archive(recipe, tmp_path / "x.mar")


@pytest.mark.parametrize("content", ["[]", "{}", '{"thresholds": 0.5, "calibration": {}, "provenance": 1}'])
def test_another_file_is_refused(tiny_checkpoint: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(LoadError, match=r"a\.json: expected calibration, provenance, thresholds"):
        build_archive(Recipe(tiny_checkpoint, "x", calibration=tmp_path / "a.json"), tmp_path / "x.mar")
