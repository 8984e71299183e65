"""What the fuzzer has found worth keeping, sent through its harness."""

from collections import Counter
from pathlib import Path

import pytest
from fuzz import harness
from fuzz.seeds import seeds

CORPUS = Path(__file__).parent / "corpus"


def test_nothing_in_it_is_unforeseen() -> None:
    inputs = [*seeds(), *(path.read_bytes() for path in sorted(CORPUS.iterdir()))]
    reached = Counter(code for content in inputs for code in harness.send(content))
    assert {"ok", "not_an_image", "corrupt_image", "unsupported_image", "too_many_pixels", "bad_option"} <= set(reached)
    assert {"bad_request", "bad_json", "bad_base64", "no_payload", "too_costly"} <= set(reached)


def test_each_seed_reaches_what_it_is_for() -> None:
    refused = {code for content in seeds() for code in harness.send(content)}
    assert refused == {"ok", "bad_json", "corrupt_image"}


def test_what_is_unforeseen_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(harness, "decode", fails)
    with pytest.raises(AssertionError, match="nobody foresaw"):
        harness.send(next(seeds()))
