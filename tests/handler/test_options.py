import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import BadOption
from handler.options import Options, parse_options

LABELS = ("ant", "bee", "cat")
THRESHOLDS = np.array([0.4, 0.5, 0.6])


def _parse(fields: dict[str, object], headers: dict[str, str] | None = None) -> Options:
    defaults = Options(THRESHOLDS, 3, all_scores=False)
    return parse_options(fields, headers or {}, {label: index for index, label in enumerate(LABELS)}, defaults)


def test_defaults_are_the_models() -> None:
    options = _parse({})
    assert options.thresholds.tolist() == [0.4, 0.5, 0.6]
    assert (options.top_k, options.all_scores) == (3, False)


@pytest.mark.parametrize("value", [0.2, "0.2", b"0.2", bytearray(b" 0.2\n")])
def test_one_threshold_for_all(value: object) -> None:
    assert _parse({"threshold": value}).thresholds.tolist() == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("value", [{"bee": 0.1}, '{"bee": 0.1}', b'{"bee": 0.1}'])
def test_a_threshold_for_some_labels(value: object) -> None:
    assert _parse({"threshold": value}).thresholds.tolist() == [0.4, 0.1, 0.6]
    assert THRESHOLDS.tolist() == [0.4, 0.5, 0.6]


@pytest.mark.parametrize("value", [2, "2", b"2"])
def test_top_k(value: object) -> None:
    assert _parse({"top_k": value}).top_k == 2


@pytest.mark.parametrize("value", [True, "true", b"true"])
def test_all_scores(value: object) -> None:
    assert _parse({"all_scores": value}).all_scores


def test_headers_and_fields_over_headers() -> None:
    headers = {"x-threshold": "0.3", "x-top-k": "1", "x-all-scores": "true", "x-other": "?"}
    options = _parse({"threshold": 0.2}, headers)
    assert options.thresholds[0] == 0.2
    assert (options.top_k, options.all_scores) == (1, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"treshold": 0.5}, '"treshold" is no option. Options are threshold, top_k, all_scores.'),
        ({"threshold": 0}, "threshold: expected a number above 0 and below 1"),
        ({"threshold": 1}, "threshold: expected a number above 0 and below 1"),
        ({"threshold": float("nan")}, "threshold: expected a number above 0 and below 1"),
        ({"threshold": "NaN"}, "threshold: expected a number above 0 and below 1"),
        ({"threshold": True}, "threshold: expected"),
        ({"threshold": [0.5, 0.5, 0.5]}, "threshold: expected"),
        ({"threshold": None}, "threshold: expected"),
        ({"threshold": "half"}, "threshold: not valid JSON."),
        ({"threshold": b"\xff\xfe"}, "threshold: not valid JSON."),
        ({"threshold": {"dog": 0.5}}, 'threshold: "dog" is no label of this model.'),
        ({"threshold": {"bee": 7}}, 'threshold: of "bee": expected a number above 0 and below 1'),
        ({"top_k": -1}, "top_k: expected an integer from 0 to 3."),
        ({"top_k": 4}, "top_k: expected an integer from 0 to 3."),
        ({"top_k": 1.0}, "top_k: expected an integer"),
        ({"top_k": True}, "top_k: expected an integer"),
        ({"top_k": "1" * 5000}, "top_k: not valid JSON."),
        ({"all_scores": 1}, "all_scores: expected true or false."),
    ],
)
def test_bad_options(fields: dict[str, object], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        _parse(fields)
    assert message in str(caught.value)


def test_client_text_in_a_message_is_quoted_escaped_and_short() -> None:
    with pytest.raises(BadOption) as caught:
        _parse({"\n[METRICS]" + "x" * 1000: 1})
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 150


@given(st.dictionaries(st.sampled_from(["threshold", "top_k", "all_scores"]), st.one_of(st.binary(), st.text())))
def test_any_text_gives_options_or_bad_option(fields: dict[str, object]) -> None:
    try:
        options = _parse(fields)
    except BadOption:
        return
    assert ((options.thresholds > 0) & (options.thresholds < 1)).all()
    assert 0 <= options.top_k <= 3
