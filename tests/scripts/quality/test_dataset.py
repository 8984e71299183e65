import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import encode, noise

from handler.errors import LoadError
from scripts.quality.dataset import Sample, count_samples, data_digest, read_samples, root

LABELS = ["ant", "bee", "cat"]
LISTED = [("a.jpg", ["ant", "cat"]), ("b/ü.jpg", []), ("c.jpg", ["bee"])]
TRUTH = [(1, 0, 1), (0, 0, 0), (0, 1, 0)]


def _csv(path: Path) -> None:
    lines = [f"{name},{'|'.join(labels)}" for name, labels in LISTED]
    path.write_text("\n".join(["path,labels", *lines]), encoding="utf-8-sig")


def _csv_columns(path: Path) -> None:
    lines = [f"{name},{','.join(map(str, truth))}" for (name, _), truth in zip(LISTED, TRUTH, strict=True)]
    path.write_text("\n".join(["path,ant,bee,cat", *lines]))


def _jsonl(path: Path) -> None:
    path.write_text("\n\n".join(json.dumps({"path": name, "labels": labels}) for name, labels in LISTED))


def _parquet(path: Path) -> None:
    names, labels = zip(*LISTED, strict=True)
    pq.write_table(pa.table({"path": list(names), "labels": pa.array(list(labels), pa.list_(pa.string()))}), path)


@pytest.mark.parametrize(
    ("suffix", "write"), [(".csv", _csv), (".csv", _csv_columns), (".jsonl", _jsonl), (".parquet", _parquet)]
)
def test_lists(tmp_path: Path, suffix: str, write: Any) -> None:
    path = tmp_path / f"data{suffix}"
    write(path)
    expected = [Sample(name, truth) for (name, _), truth in zip(LISTED, TRUTH, strict=True)]
    assert list(read_samples(path, LABELS)) == expected
    assert root(path) == tmp_path


def test_a_folder_says_nothing_of_labels(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/2.jpg", "a/1.jpeg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(noise()))
    unknown = (-1, -1, -1)
    assert list(read_samples(tmp_path, LABELS)) == [Sample(name, unknown) for name in ("b.PNG", "a/1.jpeg", "a/2.jpg")]
    assert root(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("row", "truth"),
    [
        ({"labels": {"ant": 1, "bee": None}}, (1, -1, -1)),
        ({"labels": {"ant": True, "bee": False, "cat": 0}}, (1, 0, 0)),
        ({"labels": None}, (-1, -1, -1)),
        ({"ant": 1}, (1, -1, -1)),
        ({}, (-1, -1, -1)),
    ],
)
def test_what_nobody_has_said_is_unknown(tmp_path: Path, row: dict[str, Any], truth: tuple[int, ...]) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"path": "a.jpg", **row}))
    assert [sample.truth for sample in read_samples(path, LABELS)] == [truth]


def test_empty_cells_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("path,ant,bee,cat\na.jpg,1,,FALSE\n")
    assert [sample.truth for sample in read_samples(path, LABELS)] == [(1, -1, 0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a.jpg", "a.txt: .txt, expected a folder, .csv, .jsonl or .parquet"),
        ("a.csv", "image\na.jpg", "a.csv: row 1: path: missing, expected the path of an image"),
        ("a.csv", "path,labels\na.jpg,elk", "row 1: 'elk': not a label of this model"),
        ("a.csv", "path,ant\na.jpg,2", "row 1: 'ant': '2', expected 1, 0 or nothing"),
        ("a.csv", "path,ant\na.jpg,1,2", "expected as many fields as the header has"),
        ("a.csv", "path,ant\na.jpg,1\nb.jpg,1,2", r"a\.csv: row 2: expected as many fields as the header has"),
        ("a.csv", 'path,labels\n"a.jpg,ant', r"^\S*a\.csv: damaged: unexpected end of data$"),
        ("a.csv", 'path,labels\n"a"b,ant', r"^\S*a\.csv: damaged: ',' expected after '\"'$"),
        (
            "a.csv",
            f"path,labels\n{'a' * 200_000},ant",
            r"^\S*a\.csv: damaged: field larger than field limit \(131072\)$",
        ),
        ("a.jsonl", '{"path": "a.jpg"}\n{"path"', "a.jsonl: damaged: "),
        ("a.jsonl", "[1]", "row 1: path: missing"),
        ("a.jsonl", '{"path": "a", "labels": 3}', "row 1: labels: 3, expected a list of labels, or"),
        ("a.parquet", "PAR1", "a.parquet: damaged: "),
        ("a.csv", "path,ant,ant\na.jpg,1,0", r"a\.csv: 'ant': twice, expected each column once"),
        ("a.jsonl", '{"path": "a", "labels": {"ant": 1, "ant": 0}}', r"a\.jsonl: 'ant': twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(LoadError, match=message):
        list(read_samples(tmp_path / name, LABELS))


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no\.csv: can't be read \(No such file or directory\)"):
        list(read_samples(tmp_path / "no.csv", LABELS))


@pytest.mark.parametrize("second", ["ant", "bee"])
def test_an_image_that_is_listed_twice(tmp_path: Path, second: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"path,labels\na.jpg,ant\nb.jpg,ant\na.jpg,{second}\n")
    with pytest.raises(LoadError, match=r"a\.csv: row 3: a\.jpg: in row 1 already, expected each image once"):
        count_samples(path, LABELS)


@pytest.mark.parametrize("name", ["empty", "empty.csv", "empty.jsonl"])
def test_no_images(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_text("path,labels\n" if path.suffix == ".csv" else "\n")
    else:
        path.mkdir()
    with pytest.raises(LoadError, match=f"{name}: no images, expected at least one"):
        count_samples(path, LABELS)


def test_a_folder_has_another_digest_when_it_grows(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    before = data_digest(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert data_digest(tmp_path) == before
    (tmp_path / "b.jpg").touch()
    assert data_digest(tmp_path) != before
