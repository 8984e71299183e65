"""The command: what it writes, and when it refuses. The network is tiny, so a margin is wide here."""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import PHOTOS, TINY_LABELS

from handler.classifier import Classifier
from handler.contents import read_metadata
from handler.converted import network_files
from handler.errors import LoadError
from handler.golden import read_golden
from handler.responses import speed
from scripts import quantise
from scripts.archive.manifest import read_archive
from scripts.archive.outline import check_archive, read_outline
from scripts.archive.trials import best_network, try_networks
from scripts.archive.unpacking import unpacked
from scripts.archive.variant import write_variant
from scripts.quality.parquet import read_scores
from scripts.score import main as score

CPU = torch.device("cpu")
WIDE = ["--margin", "0.4", "--resamples", "50", "--photos", "12"]
PICTURES = 60

pytestmark = pytest.mark.slow  # NNCF takes seconds to import, and more for a network


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of photos, with labels that a random network can't know."""
    directory, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    lines = []
    photos = [Image.open(PHOTOS / name).convert("RGB") for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
    for number in range(PICTURES):
        left, top = rng.integers(0, 200, 2)
        photos[number % 3].crop((left, top, left + 200, top + 200)).save(directory / f"{number}.png")
        labels = [name for name in TINY_LABELS if rng.random() < 0.6]
        lines.append(json.dumps({"path": f"{number}.png", "labels": labels}))
    (directory / "list.jsonl").write_text("\n".join(lines))
    return directory / "list.jsonl"


@pytest.fixture(scope="module")
def quantised(tiny_mar: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("int8") / "tiny-int8.mar"
    assert quantise.main([str(tiny_mar), "--data", str(data), "--output", str(output), *WIDE]) == 0
    return output


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert quantise.main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_it_is_served_as_int8_by_its_own_network_and_golden_scores(quantised: Path, tiny_mar: Path) -> None:
    outline = check_archive(quantised)
    assert (str(outline.archive), outline.settings.precision, outline.converted) == ("tiny 1.0-int8", "int8", True)
    with unpacked(tiny_mar) as before, unpacked(quantised) as after:
        names = {path.name for path in after.iterdir()}
        assert names - {path.name for path in before.iterdir()} == set(network_files("int8"))
        assert not names & set(network_files("float32"))
        small, large = (after / network_files("int8")[1], before / network_files("float32")[1])
        assert small.stat().st_size < large.stat().st_size / 2
        classifier = Classifier.load(after, CPU)
        assert {"engine": "openvino", "precision": "int8"}.items() <= speed(classifier).items()
        classifier.self_check(after)
        plain = Classifier.load(before, CPU)
        was, now = (read_golden(directory, len(TINY_LABELS)) for directory in (before, after))
        photos = [each.image for each in now]
        differences = np.abs(np.stack(plain.classify(photos)) - np.stack(classifier.classify(photos)))  # type: ignore[arg-type]
    assert differences.max() > 1e-4, "it is another network"
    assert any((one.scores != other.scores).any() for one, other in zip(was, now, strict=True))


def test_the_evidence_travels_with_it(quantised: Path, data: Path) -> None:
    with unpacked(quantised) as directory:
        metadata = read_metadata(directory)
    evidence = metadata["quantisation"]
    assert metadata["version"] == "1.0-int8"
    assert (evidence["margin"], evidence["confidence"], evidence["seed"]) == (0.4, 0.95, 0)
    assert (evidence["quantised_with"]["images"], evidence["judged_by"]["images"]) == (12, PICTURES - 12)
    assert evidence["made_with"].keys() == {"nncf", "openvino"}
    assert evidence["tried"][-1]["micro_f1"]["low"] > -0.4
    assert evidence["tried"][-1]["macro_f1"]["low"] > -0.4
    card = metadata["card"]
    assert (card["precision"], card["images"], card["model"]["version"]) == ("int8", PICTURES - 12, "1.0-int8")
    assert card["quantisation"] == evidence
    assert card["labels"].keys() == set(TINY_LABELS)


def test_the_same_photos_give_the_same_bytes(quantised: Path, tiny_mar: Path, data: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(data.parent, tmp_path / "moved")
    again = tmp_path / "again.mar"
    assert quantise.main([str(tiny_mar), "--data", str(moved / data.name), "--output", str(again), *WIDE]) == 0
    assert again.read_bytes() == quantised.read_bytes()


def test_without_proof_nothing_is_written_and_it_says_how_many_photos_would_do(
    tiny_mar: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.mar"
    few = ["--resamples", "50", "--margin", "0.001", "--output", output]
    assert quantise.main([str(tiny_mar), "--data", str(data), *map(str, few)]) == 1
    shown = capsys.readouterr()
    assert "not shown to be within the margin, so nothing was written: micro F1 " in shown.err
    assert "(15 others quantise)" in shown.err
    assert shown.err.count("\n") == shown.err.count("error: ") == 1
    tried = [line for line in shown.out.splitlines() if line.startswith("tried")]
    assert tried == [
        "tried    performance preset, fast bias correction",
        "tried    mixed preset, accurate bias correction",
    ]
    assert not output.exists()


def test_nowhere_else_does_it_start(quantised: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another engine's scores would be those of float32."""
    with unpacked(quantised) as directory:
        for engine in ("frozen", "eager"):
            with pytest.raises(LoadError, match=f"engine: {engine}, expected auto or openvino with precision: int8"):
                Classifier.load(directory, CPU, engine=engine)
        (directory / network_files("int8")[1]).unlink()
        for engine in ("auto", "openvino"):
            with pytest.raises(LoadError, match=r"precision: int8, expected the version that was quantised: .*int8"):
                Classifier.load(directory, CPU, engine=engine)
        assert Classifier.load(directory, CPU, precision="float32").engine == "frozen", "the weights are there"


def test_of_other_weights_it_does_not_start(quantised: Path) -> None:
    with (
        unpacked(quantised) as directory,
        pytest.raises(LoadError, match=r"network-int8\.xml: converted from other weights"),
    ):
        Classifier.load(directory, CPU, model_kwargs={"drop_rate": 0.1})


def test_scores_say_that_they_are_of_int8(quantised: Path, data: Path, tmp_path: Path) -> None:
    assert score([str(quantised), "--data", str(data), "--output", str(tmp_path / "scores")]) == 0
    scores = read_scores(tmp_path / "scores")
    assert (scores.facts()["precision"], scores.facts()["model"]["version"]) == ("int8", "1.0-int8")


def test_tuning_keeps_it(quantised: Path) -> None:
    shown: list[dict[str, Any]] = []
    trials = try_networks(
        quantised, [PHOTOS.joinpath("coffee.png").read_bytes()], CPU, lambda each, _: shown.append(each)
    )
    assert shown == [{"engine": "openvino", "precision": "int8"}]
    assert best_network(trials, 1e-6) is trials[0]


@pytest.mark.parametrize("case", ["int8 already", "no network", "its own version", "there already", "no labels"])
def test_what_can_not_be_quantised_is_named_before_the_work(
    quantised: Path, tiny_mar: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    source, arguments = tiny_mar, ["--data", data, "--output", tmp_path / "x.mar"]
    expected = f"error: {tiny_mar}: "
    if case == "int8 already":
        source, expected = quantised, f"error: {quantised}: precision: int8 already, expected the version that it"
    elif case == "no network":
        source = tmp_path / "bare.mar"
        with zipfile.ZipFile(tiny_mar) as old, zipfile.ZipFile(source, "w") as new:
            for name in old.namelist():
                if name not in network_files("float32"):
                    new.writestr(name, old.read(name))
        expected = f"error: {source}: no converted network, expected one as scripts/build_archive.py makes it"
    elif case == "its own version":
        arguments += ["--version", "1.0"]
        expected = f"error: flags: version: 1.0 is that of {tiny_mar}, expected another"
    elif case == "there already":
        (tmp_path / "x.mar").touch()
        expected = f"error: {tmp_path / 'x.mar'}: exists already"
    else:
        arguments[1] = data.parent
        expected += f"{tmp_path}"
    said = refusal(capsys, source, *arguments)
    if case == "no labels":
        assert "truth: no positives or no negatives, expected data with labels" in said
    else:
        assert said.startswith(expected)


def test_without_nncf_it_says_what_to_install(
    tiny_mar: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    said = refusal(capsys, tiny_mar, "--data", data, "--output", tmp_path / "x.mar")
    assert said.startswith("error: nncf: ")
    assert 'expected the extra "int8": make install' in said


def test_a_tuned_archive_is_quantised_from_float32(tiny_mar: Path, data: Path, tmp_path: Path) -> None:
    tuned, output = tmp_path / "tuned.mar", tmp_path / "x.mar"
    write_variant(
        tiny_mar, tuned, {"precision": "bfloat16", "engine": "openvino"}, {"batchSize": 4}, version="1.0-tuned"
    )
    assert quantise.main([str(tuned), "--data", str(data), "--output", str(output), *WIDE]) == 0
    outline = read_outline(read_archive(output))
    assert (str(outline.archive), outline.settings.precision, outline.server.batchSize) == (
        "tiny 1.0-tuned-int8",
        "int8",
        4,
    )
