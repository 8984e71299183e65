"""How the memory is divided; tests/image/test_memory.py runs containers of 1 and 2 GB."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.memory import decoding_memory
from handler.server_settings import ServerSettings
from handler.settings import Limits, Settings
from scripts.archive.manifest import Archive
from scripts.archive.outline import Outline, Sizes
from scripts.server import workers
from scripts.server.budget import LEAST_DECODING, MIB, MemoryBudgetError, available_memory, plan

MAX_BODY = 16 * MIB
GIB = 1024 * MIB


def _model(weights: int = 13 * MIB, decode: Any = "scaled", **server: Any) -> Outline:
    settings = Settings("tiny", decode=decode)
    archive = Archive(Path("cats.mar"), "cats", "1.0")
    return Outline(archive, ("tabby",), settings, ServerSettings(**server), Sizes(weights, weights))


def test_with_room_for_all_there_are_bodies_for_twice_what_the_workers_take() -> None:
    budget = plan(64 * GIB, [_model()], MAX_BODY)
    assert (budget.large_bodies, budget.small_bodies) == (16, 64)
    assert budget.decoding == decoding_memory(Limits(), scaled=False)
    many = plan(64 * GIB, [_model(batchSize=32, minWorkers=2, maxWorkers=2)], MAX_BODY)
    assert (many.large_bodies, many.small_bodies) == (64, 128)


def test_what_is_given_is_never_more_than_there_is() -> None:
    for available in range(1024 * MIB, 6 * GIB, 100 * MIB):
        for model in (_model(), _model(decode="exact"), _model(batchSize=1), _model(weights=40 * MIB, batchSize=64)):
            try:
                budget = plan(available, [model], MAX_BODY)
            except MemoryBudgetError:
                continue
            assert budget.workers + budget.decoding + budget.heap + budget.direct < available
            assert budget.decoding >= LEAST_DECODING
            assert budget.large_bodies >= 1
            bodies = budget.large_bodies * budget.max_body
            assert budget.heap > bodies
            assert budget.direct > 2 * bodies


def test_2_gb_decode_whatever_the_limits_allow_and_1_gb_an_ordinary_photo() -> None:
    two, one = (plan(gib * GIB, [_model()], MAX_BODY) for gib in (2, 1))
    assert two.decoding >= decoding_memory(Limits(), scaled=True)
    assert two.large_bodies > 1
    assert LEAST_DECODING <= one.decoding < decoding_memory(Limits(), scaled=True)


def test_the_number_that_would_suffice_suffices() -> None:
    models = [_model(minWorkers=2, maxWorkers=2), _model(weights=90 * MIB, minWorkers=1, maxWorkers=1)]
    with pytest.raises(MemoryBudgetError, match=r"1024 MiB is too little for 3 workers") as refused:
        plan(GIB, models, MAX_BODY)
    suffices = int(str(refused.value).partition("requests; ")[2].partition(" MiB")[0])
    assert plan(suffices * MIB, models, MAX_BODY).decoding >= LEAST_DECODING
    with pytest.raises(MemoryBudgetError):
        plan((suffices - 4) * MIB, models, MAX_BODY)


def test_an_empty_store_leaves_room_for_one_worker() -> None:
    assert plan(2 * GIB, [], MAX_BODY).large_bodies >= 1


def test_it_is_one_line_and_java_is_told() -> None:
    budget = plan(2 * GIB, [_model()], MAX_BODY)
    assert "\n" not in str(budget)
    assert str(budget).startswith("memory: of 2048 MiB workers 504 MiB (1 of a model without minWorkers), decoding ")
    assert {f"-Xmx{budget.heap}", f"-XX:MaxDirectMemorySize={budget.direct}"} < set(budget.java_options())
    assert replace(budget, decoding=5).variables() == {
        "DECODING_MEMORY": "5",
        "TS_DEFAULT_WORKERS_PER_MODEL": "1",
        "TS_MAX_REQUEST_SIZE": str(MAX_BODY),
    }


def test_a_model_gets_as_many_workers_as_there_is_room_for_a_second_version_of() -> None:
    numbers = [plan(mib * MIB, [_model()], MAX_BODY, 8).default_workers for mib in range(1024, 32 * 1024, 512)]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (1, 8)
    for mib, number in zip(range(1024, 32 * 1024, 512), numbers, strict=True):
        if number > 1:
            twice = [_model(minWorkers=number, maxWorkers=number)] * 2
            assert plan(mib * MIB, twice, MAX_BODY).decoding >= LEAST_DECODING
            assert plan(mib * MIB, twice[:1], MAX_BODY).decoding >= decoding_memory(Limits(), scaled=True)


def test_a_model_that_says_its_number_keeps_it() -> None:
    models = [_model(minWorkers=3, maxWorkers=3), _model()]
    budget = plan(64 * GIB, models, MAX_BODY, 2)
    assert budget.default_workers == 2
    assert plan(64 * GIB, models[:1], MAX_BODY, 2).default_workers == 3, "as an operator had it"
    assert plan(64 * GIB, [], MAX_BODY, 8).default_workers == 1
    assert budget.workers == plan(64 * GIB, [_model(minWorkers=5, maxWorkers=5)], MAX_BODY).workers


@pytest.mark.parametrize(
    ("listed", "number"), [("GPU 0: H100\nGPU 1: H100\n", 2), ("No devices were found\n", 4), (None, 4)]
)
def test_one_worker_a_graphics_card_else_one_a_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: str | None, number: int
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(workers, "available_cores", lambda: 4)
    if listed is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!{sys.executable}\nprint({listed!r}, end='')\n")
        program.chmod(0o755)
    assert workers.most_workers() == 1  # as the tests have it in their environment
    monkeypatch.delenv("TS_DEFAULT_WORKERS_PER_MODEL")
    assert workers.most_workers() == number


def test_where_not_even_one_large_body_fits_bodies_may_be_smaller() -> None:
    assert plan(GIB, [_model()], MAX_BODY).max_body == MAX_BODY // 4
    assert plan(GIB + 64 * MIB, [_model()], MAX_BODY).max_body == MAX_BODY // 2
    assert plan(2 * GIB, [_model()], MAX_BODY).max_body == MAX_BODY


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("memory.max", "2147483648\n", 2 * GIB),
        ("memory.max", "max\n", 8 * GIB),
        ("memory/memory.limit_in_bytes", "1073741824\n", GIB),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 8 * GIB),
        ("other", "1", 8 * GIB),
    ],
)
def test_the_limit_of_the_container_or_the_machine(tmp_path: Path, name: str, content: str, expected: int) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text(f"MemTotal:  {8 * GIB // 1024} kB\nMemFree:  5 kB\n")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert available_memory(tmp_path, machine) == expected
