"""What an operator does while clients send photos, and how much longer they wait for it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.targets import Container
from scripts.server.clients import Load, Question

CLIENTS = 8
CALM = 5.0  # seconds


@dataclass(frozen=True)
class Action:
    name: str
    replies: int
    wrong: int  # of them
    seconds: float  # that it took
    longest: float  # seconds, of a client's wait


def act(target: Container, model: str, version: str, second: Path, question: Question) -> Iterator[Action]:
    """Calm first, then each action in turn. second: the file of another version, in the store."""
    other = f"{version}-second"
    url = f"{target.url}/predictions/{model}"
    yield _beside(url, question, "nothing", lambda: time.sleep(CALM))
    for name, arguments in (
        ("scale to two workers", ("scale", model, version, "2")),
        ("scale to one worker", ("scale", model, version, "1")),
        ("register a version and promote it", ("register", second, "--promote")),
        ("roll back", ("rollback", model)),
        ("unregister a version", ("unregister", model, other)),
    ):
        yield _beside(url, question, name, partial(target.manage, *arguments))


def _beside(url: str, question: Question, name: str, action: Callable[[], object]) -> Action:
    with Load(url, CLIENTS, lambda _: question) as load:
        time.sleep(1)
        started = time.monotonic()
        action()
        seconds = time.monotonic() - started
        time.sleep(1)
    during = [reply for reply in load.replies if reply.started + reply.seconds >= started]
    wrong = sum(not reply.right for reply in during)
    return Action(name, len(during), wrong, seconds, max(reply.seconds for reply in during))
