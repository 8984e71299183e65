"""Scores a data set, in this process and over HTTP."""

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from predictions import Answer, serving
from samples import CHELSEA, COFFEE, TINY_LABELS, encode, free_ports, noise, random_weights, save_checkpoint
from synthetic import EAGER, tiny_archive

from handler.classifier import Classifier
from handler.errors import ItemError, LoadError
from handler.responses import speed
from scripts import score
from scripts.archive.manifest import read_archive
from scripts.archive.recipe import Recipe
from scripts.archive.unpacking import unpacked
from scripts.build_archive import build_archive
from scripts.quality.dataset import data_digest
from scripts.quality.parquet import read_scores
from scripts.quality.scores import Origin
from scripts.server.torchserve import TorchServe

LISTED = [{"path": "cat.png", "labels": ["ant"]}, {"path": "cup.png", "labels": []}]
BAD = [{"path": "text.jpg", "labels": []}, {"path": "gone.jpg", "labels": []}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(CHELSEA)
    (tmp_path / "cup.png").write_bytes(COFFEE)
    (tmp_path / "text.jpg").write_text("no image")
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*LISTED, *BAD]))
    return path


@pytest.fixture(scope="module")
def archive(tiny_checkpoint: Path) -> Path:
    return tiny_archive(tiny_checkpoint)


@pytest.fixture(scope="module")
def classifier(archive: Path) -> Classifier:
    with unpacked(archive) as directory:
        return Classifier.load(directory, torch.device("cpu"))


def test_an_archive(archive: Path, classifier: Classifier, data: Path, tmp_path: Path) -> None:
    assert score.main([str(archive), "--data", str(data), "--output", str(tmp_path / "out")]) == 3, "half are refused"
    scores = read_scores(tmp_path / "out")
    assert scores.paths == ["cat.png", "cup.png"]
    np.testing.assert_allclose(scores.scores, np.stack(classifier.classify([CHELSEA, COFFEE])), atol=1e-6)  # type: ignore[arg-type]
    assert scores.truth[0].tolist() == [1, 0, 0]
    assert scores.errors == {"not_an_image": 1, "unreadable": 1}
    assert scores.origin.model["sha256"] == classifier.weights_sha256
    assert scores.origin.images == 4
    np.testing.assert_array_equal(scores.thresholds, classifier.thresholds)
    assert not scores.calibration.changes
    rows = ds.dataset(tmp_path / "out").to_table().to_pylist()  # as anybody else reads it
    assert [(row["path"], row["error"]) for row in rows[2:]] == [
        ("text.jpg", "not_an_image"),
        ("gone.jpg", "unreadable"),
    ]
    assert rows[3]["scores"] is None


def test_a_checkpoint_that_needs_no_flags(data: Path, tmp_path: Path) -> None:
    """Of a small convolutional network, since freezing one takes half as long as the tiny transformer's."""
    content = {
        "state_dict": random_weights("test_efficientnet"),
        "class_names": TINY_LABELS,
        "thresholds": {"ant": 0.4, "bee": 0.5, "cat": 0.6},
        "config": {"architecture": "test_efficientnet"},
    }
    checkpoint = save_checkpoint(tmp_path / "small.pt", content)
    data.write_text(json.dumps({"path": "cat.png", "labels": {"cat": 1}}))
    assert score.main([str(checkpoint), "--data", str(data), "--output", str(tmp_path / "out")]) == 0
    scores = read_scores(tmp_path / "out")
    assert scores.origin.thresholds == {"ant": 0.4, "bee": 0.5, "cat": 0.6}
    assert scores.truth.tolist() == [[-1, -1, 1]]


def _compare(archive: Path, data: Path, flags: list[str], management: str, directory: Path) -> None:
    """A server's scores with those of the same archive in this process."""
    flags = [*flags, "--data", str(data), "--max-refused", "0.5"]
    assert score.main([*flags, "--output", str(directory / "http"), "--management", management]) == 0
    assert score.main([*flags, "--output", str(directory / "unknown")]) == 0
    assert score.main([str(archive), *flags[-4:], "--output", str(directory / "here")]) == 0
    http, here = read_scores(directory / "http"), read_scores(directory / "here")
    assert http.origin == here.origin
    assert (http.paths, http.errors) == (here.paths, here.errors)
    np.testing.assert_allclose(http.scores, here.scores, atol=1e-5)
    assert read_scores(directory / "unknown").origin.calibration is None


def test_a_stub_of_a_server_gives_the_same(archive: Path, classifier: Classifier, data: Path, tmp_path: Path) -> None:
    model = {"name": "tiny", "version": "1.0", "sha256": classifier.weights_sha256}
    pairs = zip(classifier.labels, classifier.thresholds.tolist(), strict=True)
    ranked = [{"name": name, "threshold": threshold} for name, threshold in pairs]

    def answer(body: bytes) -> Answer:
        [outcome] = classifier.classify([body])
        if isinstance(outcome, ItemError):
            return outcome.status, {"error": {"code": outcome.code}}, {}
        scores = dict(zip(classifier.labels, outcome.tolist(), strict=True))
        return 200, {"scores": scores, "top_k": ranked, "model": model}, {}

    calibration = classifier.calibration.to_dict(classifier.labels)
    described = {"calibration": calibration, "speed": speed(classifier), "contents_sha256": classifier.contents_sha256}
    with serving(answer, [{"customizedMetadata": described}]) as server:
        _compare(archive, data, ["--url", f"{server.url}/predictions/tiny"], server.url, tmp_path)


@pytest.mark.slow
def test_a_server_gives_the_same(archive: Path, data: Path, tmp_path: Path) -> None:
    with TorchServe([read_archive(archive)], archive.parent, free_ports(), tmp_path / "logs") as server:
        server.wait_ready()
        _compare(archive, data, ["--url", f"{server.inference}/predictions/tiny"], server.management, tmp_path)


def test_no_server(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/x"
    assert score.main(["--url", url, "--data", str(data), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: {url}: no answer (ConnectionError)\n"


class Counting:
    """A model whose scores are the number in the image's bytes; after `limit` images it is gone."""

    labels: tuple[str, ...] = ("ant",)
    at_once = 3
    version = "1"

    def __init__(self, limit: int = 10**9) -> None:
        self.limit, self.seen = limit, 0

    def origin(self, data: Path) -> Any:
        pair = {"scale": 1.0, "shift": 0.0}
        return Origin(
            ["ant"],
            {"ant": 0.5},
            {"ant": pair},
            {"name": "count", "version": self.version},
            data.name,
            data_digest(data),
            ".",
        )

    def score(self, images: Any) -> list[list[float] | str]:
        self.seen += len(images)
        if self.seen > self.limit:
            raise KeyboardInterrupt
        return [[float(image)] for image in images]


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    folder = tmp_path / "numbers"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}.png").write_text(str(number / 100))
    return folder


def test_an_interrupted_run_goes_on_where_it_was(numbers: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        score.score(Counting(limit=13), numbers, output, (1, 1), 5)
    assert len(list(output.glob("*.parquet"))) == 2
    again = Counting()
    assert score.score(again, numbers, output, (1, 1), 5) == (10, 0)
    assert again.seen == 10
    assert read_scores(output).scores[:, 0].tolist() == pytest.approx([number / 100 for number in range(20)])
    assert score.score(again, numbers, output, (1, 1), 5) == (0, 0)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A row that is kept takes hundreds of bytes. The files aren't there: the rest is as with any other."""
    few, many = 1_000, 6_000
    # pathlib interns every name, in a table that grows by megabytes at a time: it has them before the measurement.
    names = [sys.intern(f"{number}.jpg") for number in range(many)]
    peaks = []
    for rows in (few, many):
        path = tmp_path / f"{rows}.csv"
        path.write_text("path,ant\n" + "".join(f"{name},1\n" for name in names[:rows]))
        tracemalloc.start()
        assert score.score(Counting(), path, tmp_path / f"out-{rows}", (1, 1), 500) == (rows, rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200 * (many - few)


def test_changed_labels_are_other_data(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("path,ant\na.jpg,1\n")
    arguments = [str(archive), "--data", str(path), "--output", str(tmp_path / "out"), "--max-refused", "1"]
    assert score.main(arguments) == score.main(arguments) == 0
    path.write_text("path,ant\na.jpg,0\n")
    assert score.main(arguments) == 1


def test_shards_are_the_whole(numbers: Path, tmp_path: Path) -> None:
    for shard in (1, 2, 3):
        score.score(Counting(), numbers, tmp_path / "out", (shard, 3), 5)
    scores = read_scores(tmp_path / "out")
    assert sorted(scores.paths) == [f"{number:02d}.png" for number in range(20)]
    assert len(set(scores.paths)) == 20


def test_another_split_is_refused_before_the_first_image(numbers: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score.score(Counting(), numbers, output, (1, 1), 5)
    before, again = sorted(output.iterdir()), Counting()
    with pytest.raises(LoadError, match=r"scores-1-of-1-000000\.parquet: a shard of 1 beside shards of 2"):
        score.score(again, numbers, output, (1, 2), 5)
    assert (again.seen, sorted(output.iterdir())) == (0, before)


def test_a_shard_of_another_model_is_refused_before_the_first_image(numbers: Path, tmp_path: Path) -> None:
    score.score(Counting(), numbers, tmp_path / "out", (1, 2), 5)
    other = Counting()
    other.version = "2"
    with pytest.raises(
        LoadError, match=r"scores-1-of-2-000000\.parquet: of another model or other data \(model\), expected a new"
    ):
        score.score(other, numbers, tmp_path / "out", (2, 2), 5)
    assert other.seen == 0


def test_an_interrupted_run_is_not_read_as_a_whole(numbers: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score.score(Counting(limit=13), numbers, tmp_path / "out", (1, 1), 5)
    with pytest.raises(LoadError, match="shard 1/1 has 10 rows, expected 20, one for each image: run the same"):
        read_scores(tmp_path / "out")


def test_other_data_or_another_model_is_refused(
    numbers: Path, tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    score.score(Counting(), numbers, output, (1, 1), 5)
    assert score.main([str(archive), "--data", str(numbers), "--output", str(output)]) == 1
    assert "of another model or other data (labels, thresholds, " in capsys.readouterr().err
    (numbers / "00.png").unlink()
    with pytest.raises(LoadError, match=r"of another model or other data \(data_sha256, images\), expected a new"):
        score.score(Counting(), numbers, output, (1, 1), 5)


def test_a_changed_photo_stops_a_run_that_goes_on(numbers: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score.score(Counting(limit=13), numbers, tmp_path / "out", (1, 1), 5)
    (numbers / "03.png").write_text("0.99")
    with pytest.raises(LoadError, match=r"03\.png: changed or gone since it was scored, expected a new --output"):
        score.score(Counting(), numbers, tmp_path / "out", (1, 1), 5)


def test_other_preprocessing_of_the_same_weights_is_refused(
    archive: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name, version and weights are the same."""
    with unpacked(archive) as directory:
        content = json.loads((directory / "preprocessing.json").read_text())
    changed = tmp_path / "preprocessing.json"
    changed.write_text(json.dumps(content).replace('"max_pixel_value": 255', '"max_pixel_value": 250'))
    assert json.loads(changed.read_text()) != content
    other = tmp_path / "other.mar"
    build_archive(Recipe(tiny_checkpoint, "tiny", handler=EAGER, preprocessing=changed), other)
    flags = ["--data", str(data), "--output", str(tmp_path / "out"), "--max-refused", "1"]
    assert score.main([str(archive), *flags]) == 0
    assert score.main([str(other), *flags]) == 1
    assert "of another model or other data (contents_sha256), expected a new --output" in capsys.readouterr().err


def test_two_scorers_in_one_directory_lose_nothing(numbers: Path, tmp_path: Path) -> None:
    """The second begins while the first is within its last part: both write the same part."""
    output = tmp_path / "out"

    class Late(Counting):
        def score(self, images: Any) -> list[list[float] | str]:
            if not self.seen:
                score.score(Counting(), numbers, output, (1, 1), 5)
            return super().score(images)

    assert score.score(Late(), numbers, output, (1, 1), 5) == (20, 0)
    assert len(read_scores(output).paths) == 20
    assert not list(output.glob("*unfinished*"))


@pytest.mark.parametrize("value", ["0.5x", "-0.1", "1.5", "nan"])
def test_wrong_shares(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        score.main(["x.mar", "--data", "d", "--output", "o", f"--max-refused={value}"])
    assert f"'{value}', expected a number from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "a/b", "1", "-1/2"])
def test_wrong_shards(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        score.main(["x.mar", "--data", "d", "--output", "o", f"--shard={shard}"])
    assert "expected I/N with I from 1 to N" in capsys.readouterr().err


def test_a_wrong_list_stops_before_the_first_image(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    (tmp_path / "a.png").write_bytes(encode(noise()))
    path.write_text("path,labels\na.png,ant\na.png,elk\n")
    assert score.main([str(archive), "--data", str(path), "--output", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
