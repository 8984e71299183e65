from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive.labels import parse_labels, read_labels_file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "ant\nbee\nlarge cat\n"),
        ("labels.txt", "\ufeffant\r\nbee\r\nlarge cat\r\n\r\n"),
        ("labels.json", '["ant", "bee", "large cat"]'),
        ("labels.json", '\ufeff["ant", "bee", "large cat"]'),
        ("labels.json", '{"1": "bee", "0": "ant", "2": "large cat"}'),
        ("labels.json", '{"large cat": 2, "ant": 0, "bee": 1}'),
        ("labels.csv", "name\nant\nbee\nlarge cat\n"),
        ("labels.csv", "Class_Name\nant\nbee\nlarge cat\n"),
        ("labels.csv", "id;Name\r\n0;ant\r\n1;bee\r\n2;large cat\r\n"),
        ("labels.csv", 'index, label\n2, "large cat"\n0, ant\n1, bee\n'),
        ("labels.csv", "class_id,name\n1,ant\n3,large cat\n2,bee\n"),
        ("labels.tsv", "index\tname\n0\tant\n1\tbee\n2\tlarge cat\n"),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "ant", "1": "bee", "2": "large cat"}}'),
        (
            "coco.json",
            '{"images": [], "categories": [{"id": 2, "name": "bee"}, {"id": 1, "name": "ant"}, '
            '{"id": 3, "name": "large cat"}]}',
        ),
        ("data.yaml", "path: ../data\nnc: 3\nnames: [ant, bee, large cat]\n"),
        ("data.yml", "names:\n  0: ant\n  1: bee\n  2: large cat\n"),
        ("index_to_name.json", '{"0": ["n1", "ant"], "1": ["n2", "bee"], "2": ["n3", "large cat"]}'),
        ("labels.csv", 'index,label\n2,"large cat"\n0,ant\n1,bee\n'),
    ],
)
def test_label_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert read_labels_file(tmp_path / name) == ("ant", "bee", "large cat")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", "ant\n\nbee", "labels.txt: label 1: ''"),
        ("labels.txt", "ant\nant", "labels.txt: label 1: 'ant' again"),
        ("labels.txt", "", "labels.txt: no labels"),
        ("labels.json", "{", "labels.json: not valid JSON"),
        ("labels.json", '{"0": "ant", "0": "bee"}', "labels.json: '0': there twice"),
        ("labels.json", '{"ant": 0, "ant": 1}', "labels.json: 'ant': there twice"),
        ("labels.json", '{"ant": 0, "bee": 0}', "labels.json: index 0: of 'ant' and of 'bee', expected one name"),
        ("labels.json", '{"0": "ant", "00": "bee"}', "labels.json: index 00: of 'ant' and of 'bee'"),
        ("labels.json", '[{"id": 1, "name": "ant"}, {"id": 3, "name": "bee"}]', "labels.json: 0: missing"),
        ("labels.json", '{"a": "ant"}', "labels.json: 'a': expected an index"),
        ("labels.yaml", "names: {0: ant, 0: bee}", "labels.yaml: not valid YAML: a key is there twice"),
        ("labels.yaml", "names: [", "labels.yaml: not valid YAML"),
        ("labels.csv", "index,name\n0,ant\n0,bee", "labels.csv: index 0: of 'ant' and of 'bee'"),
        ("labels.csv", 'name\n"large\ncat"\n', "label 0: 'large\\ncat', expected a non-empty printable"),
        ("labels.csv", "name,x\nant\nbee,1,2\n", "line 3: not as many fields as the header has, expected 2"),
        ("labels.txt", "0 ant\n1 bee", "labels.txt: each line begins with its number ('0 ant')"),
        ("labels.txt", "1: ant\n2: bee", "labels.txt: each line begins with its number"),
        ("labels.txt", "a\u202eb", "expected a non-empty printable string"),
        ("labels.json", "5", "labels.json: expected a list"),
        ("labels.csv", "breed\nant", "labels.csv: expected a header with a column 'name' or 'label'"),
        ("labels.csv", "index,name\n0,ant\n2,bee", "labels.csv: 1: missing"),
        ("labels.xml", "<a/>", "labels.xml: .xml, expected labels as .txt, .json, .yaml, .csv or .tsv"),
    ],
)
def test_wrong_label_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(LoadError) as caught:
        read_labels_file(tmp_path / name)
    assert message in str(caught.value)


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"labels.txt: missing"):
        read_labels_file(tmp_path / "labels.txt")


def test_integer_keys_as_yaml_has_them() -> None:
    assert parse_labels({0: "ant", 1: "bee"}, "here") == ("ant", "bee")


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for encoding, name in {
        "utf-16": "UTF-16",
        "utf-16-le": "UTF-16",
        "latin-1": "not UTF-8 but probably Latin-1",
    }.items():
        path.write_bytes("käfer\nbee".encode(encoding))
        with pytest.raises(LoadError, match=f"labels.txt: {name}"):
            read_labels_file(path)


def test_an_index_from_one_and_a_no_break_space_are_read_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert parse_labels({"1": "ant", "2": "bee"}, "here") == ("ant", "bee")
    assert parse_labels(["large\u00a0cat"], "here") == ("large\u00a0cat",)
    assert [record.getMessage() for record in caplog.records] == [
        "warning: here: the index begins with 1, read as the outputs 0 to 1",
        "warning: here: 'large\\xa0cat' has a no-break space, which clients must send so",
    ]


def test_joined_emoji_are_names() -> None:
    assert parse_labels(["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f"], "here")
