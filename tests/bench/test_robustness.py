"""The attacks themselves, the verdict on them, and a short run against what `make serve` starts."""

import os
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
from programs import Program
from samples import CHELSEA, PHOTOS, first_free_port
from stub import serving

from bench import robustness
from bench.actions import Action
from bench.attacks import SILENT, Attack, Sent, attacks, damaged
from bench.robustness import Row, Trial, _show_actions, limits_broken, main
from handler.decode import decode
from handler.errors import ItemError
from handler.settings import Limits
from scripts.server.clients import Question
from scripts.server.torchserve import ServerError

GB = 10**9
HELD = Row("x", Sent(8, 100, Counter(ok=7, too_costly=1), 8), 15.0, GB // 2, GB // 5 * 4, 0.1, 4.0, [True], ())
KILL = Attack("x", lambda target, model: HELD.sent, kills=True)
ATTACK = replace(KILL, kills=False)


def test_what_holds() -> None:
    assert list(limits_broken(HELD, ATTACK, GB, replaced=False)) == []
    assert list(limits_broken(replace(HELD, recovery=50, processor=99), KILL, GB, replaced=True)) == []


@pytest.mark.parametrize(
    ("row", "replaced", "said"),
    [
        (replace(HELD, processor=17.0), False, "2.1 s of a core a request"),
        (replace(HELD, sent=Sent(1, 100, Counter(ok=1)), processor=1), False, "50% of the memory for a request"),
        (replace(HELD, peak=GB // 20 * 19), False, "95% of the memory in all"),
        (replace(HELD, recovery=5.5), False, "not as before"),
        (HELD, True, "a worker was replaced"),
        (replace(HELD, name="kill"), False, "no worker was replaced"),
        (replace(HELD, sent=Sent(8, 1, Counter(ok=7, internal_error=1), 8)), False, "answered internal_error"),
        (replace(HELD, sent=Sent(8, 1, Counter({"500": 8}), 8)), False, "answered 500"),
        (replace(HELD, sent=Sent(8, 1, Counter({SILENT: 1, "closed": 7}), 8)), False, SILENT),
    ],
)
def test_what_does_not_hold(row: Row, replaced: bool, said: str) -> None:
    attack = KILL if row.name == "kill" else ATTACK
    assert list(limits_broken(row, attack, GB, replaced)) == [said]


@pytest.mark.parametrize(
    ("ready", "shown"), [([], "–"), ([True] * 3, "yes"), ([True, False, True, True], "no, 25%"), ([False], "no, 100%")]
)
def test_a_row_says_for_which_share_it_was_not_ready(ready: list[bool], shown: str) -> None:
    assert f"| {shown} | held |" in str(replace(HELD, ready=ready))


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.05)  # a machine that is busy answers within three times as much
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Refusing(Answering):
    status = 503


def test_without_right_answers_in_calm_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "CALM", 0.5)
    with (
        serving(Refusing) as url,
        Program("input()", port=int(url.rpartition(":")[2])) as target,
        pytest.raises(ServerError, match=r"the program: answered \{503: \d+\} in calm, expected 200 alone"),
    ):
        Trial(target, "x", Question(CHELSEA))


class Restarting(Program):
    """Has one worker until it is harmed, and another so many seconds later. It answers all the while."""

    harmed: float | None = None
    loading = 1.5

    def workers(self) -> list[psutil.Process]:
        return [psutil.Process(self._process.pid if self.harmed is None else os.getpid())]

    def ready_workers(self, model: str) -> int:
        return int(self.harmed is not None and time.monotonic() > self.harmed + self.loading)

    def harm(self) -> Sent:
        self.harmed = time.monotonic()
        time.sleep(0.5)
        return Sent(1, 1, Counter(ok=1), 1, self.harmed)


def test_recovery_is_counted_from_the_harm_until_as_many_workers_as_before_are_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(robustness, "CALM", 0.5)
    with serving(Answering) as url, Restarting("input()", port=int(url.rpartition(":")[2])) as target:
        row = Trial(target, "x", Question(CHELSEA)).run(replace(KILL, run=lambda *_: target.harm()))
    assert row.recovery >= target.loading
    assert row.broken == ()


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
        assert SILENT not in row[-1], printed
        assert "answered" not in row[-1], printed
