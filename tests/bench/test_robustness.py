"""The attacks themselves, the verdict on them, and a short run against what `make serve` starts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from samples import CHELSEA, PHOTOS, first_free_port

from bench.actions import Action
from bench.attacks import Attack, Sent, attacks, damaged
from bench.robustness import Row, _show_actions, limits_broken, main
from handler.decode import decode
from handler.errors import ItemError
from handler.settings import Limits

GB = 10**9
HELD = Row("x", Sent(8, 100, Counter(ok=7, too_costly=1), 8), 15.0, GB // 2, 0.1, 4.0, [200], ())
KILL = Attack("x", lambda target, model: HELD.sent, kills=True)
ATTACK = replace(KILL, kills=False)


def test_what_holds() -> None:
    assert list(limits_broken(HELD, ATTACK, GB, replaced=False)) == []
    assert list(limits_broken(replace(HELD, recovery=50, processor=99), KILL, GB, replaced=True)) == []


@pytest.mark.parametrize(
    ("row", "replaced", "said"),
    [
        (replace(HELD, processor=17.0), False, "2.1 s of a core a request"),
        (replace(HELD, memory=2 * GB), False, "25% of the memory a request"),
        (replace(HELD, recovery=5.5), False, "not as before"),
        (HELD, True, "a worker was replaced"),
        (replace(HELD, sent=Sent(8, 1, Counter(ok=7, internal_error=1), 8)), False, "answered internal_error"),
        (replace(HELD, sent=Sent(8, 1, Counter({"500": 8}), 8)), False, "answered 500"),
    ],
)
def test_what_does_not_hold(row: Row, replaced: bool, said: str) -> None:
    assert list(limits_broken(row, ATTACK, GB, replaced)) == [said]


def test_an_operator_keeps_nobody_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    calm = Action("nothing", 100, 0, 5, 0.2)
    assert _show_actions(iter([calm, Action("scale", 100, 0, 9, 2.1)]))
    assert not _show_actions(iter([calm, Action("scale", 100, 0, 9, 2.3)]))
    assert not _show_actions(iter([calm, Action("scale", 100, 1, 9, 0.2)]))
    assert capsys.readouterr().out.count("| scale | 9.0 | 100 |") == 3


def test_the_damaged_photos_are_the_same_each_time_and_of_every_kind() -> None:
    first = list(damaged(CHELSEA, 60))
    assert first == list(damaged(CHELSEA, 60))
    codes = set()
    for content in first:
        try:
            decode(content, Limits())
            codes.add("ok")
        except ItemError as error:
            codes.add(error.code)
    assert {"ok", "corrupt_image", "not_an_image"} <= codes


@pytest.mark.slow
def test_the_short_form_against_make_serve(demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, port = str(PHOTOS / "chelsea.png"), str(first_free_port(5))
    main(["--short", "--against", "serve", "--archive", str(demo_mar), "--photo", photo, "--port", port])
    check_table(capsys.readouterr().out)


def check_table(printed: str) -> None:
    """Every short attack has a row, and nothing was worse than slow: how slow depends on what runs beside it."""
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("|")][2:]
    names = [row[0].removeprefix("| ") for row in rows]
    assert names == [attack.name for attack in attacks(CHELSEA) if attack.short], printed
    for row in rows:
        assert "replaced" not in row[-1], printed
        assert "answered" not in row[-1], printed
