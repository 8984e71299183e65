"""Each clash in one line, and none where there is none."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from handler.server_settings import ServerSettings
from handler.settings import Limits, Settings
from scripts.archive.manifest import Archive, read_archive
from scripts.archive.outline import Outline, Sizes
from scripts.check_settings import main
from scripts.paths import CONFIG
from scripts.server.clashes import find_clashes, read_clashes
from scripts.server.frontend import read_front_end

LABELS = tuple(f"label {index}" for index in range(13))


def _found(
    labels: tuple[str, ...] = LABELS,
    limits: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    **server: Any,
) -> list[str]:
    settings = Settings("tiny", limits=Limits(**{"max_decode_seconds": 0.1} | (limits or {})))
    model = Outline(Archive(Path("cats.mar"), "cats", "1.0"), labels, settings, ServerSettings(**server), Sizes(0, 0))
    return find_clashes(read_front_end(CONFIG, environment or {}), model)


def test_the_defaults_do_not_clash() -> None:
    assert _found(limits=asdict(Limits())) == []


@pytest.mark.parametrize(
    ("given", "clash"),
    [
        ({"batchSize": 16, "jobQueueSize": 8}, "batchSize 16 is over the queue of 8: a batch can't fill"),
        ({"batchSize": 128}, "batchSize 128 is over the queue of 100"),
        ({"batchSize": 32, "environment": {"TS_JOB_QUEUE_SIZE": "20"}}, "batchSize 32 is over the queue of 20"),
        (
            {"maxBatchDelay": 500, "clientTimeoutInMills": 500},
            "maxBatchDelay 500 ms is over clientTimeoutInMills 500: requests are dropped while their batch fills",
        ),
        ({"responseTimeout": 120}, "responseTimeout 120 s is over REQUEST_TIMEOUT 120 s: clients get 504"),
        ({"environment": {"REQUEST_TIMEOUT": "30"}}, "responseTimeout 30 s is over REQUEST_TIMEOUT 30 s"),
        (
            {"batchSize": 16, "limits": {"max_decode_seconds": 2.0}},
            "batchSize 16, each with max_decode_seconds 2, is over 90% of responseTimeout 30 s",
        ),
        (
            {"limits": {"max_image_bytes": 13 * 2**20}},
            "max_image_bytes 13631488 is 18175317 as base64, over max_request_size 16777216",
        ),
        (
            {"limits": {"max_pixels": 80_000_000}},
            "max_pixels 80000000 takes 12000000 bytes or more as JPEG, over max_image_bytes 10485760",
        ),
        (
            {"labels": tuple(f"label {index}" for index in range(1000))},
            "batchSize 8, each with max_images 16 and all scores of 1000 labels, can be 33",
        ),
    ],
)
def test_a_clash_names_both_settings_and_what_comes_of_it(given: dict[str, Any], clash: str) -> None:
    [line] = _found(**given)
    assert line.startswith(f"cats 1.0: {clash}")
    assert "\n" not in line


def test_a_delay_that_outlasts_the_request_clashes() -> None:
    lines = _found(maxBatchDelay=5000, responseTimeout=4, environment={"REQUEST_TIMEOUT": "5"})
    assert lines == ["cats 1.0: maxBatchDelay 5000 ms is over REQUEST_TIMEOUT 5 s: all get 504"]


def test_an_archive_is_read_without_its_weights_and_what_is_wrong_is_a_line(demo_mar: Path, tmp_path: Path) -> None:
    front = replace(read_front_end(CONFIG, {}), max_response_size=500)
    broken = Archive(tmp_path / "broken.mar", "broken", "1.0")
    broken.path.write_bytes(b"PK")
    [outline], [first, second] = read_clashes(front, [read_archive(demo_mar), broken])
    assert outline.sizes.all > outline.sizes.weights > 13_000_000
    assert first.startswith("cat-breeds 1.0: batchSize 8, each with max_images 16 and all scores of 13 labels")
    assert second.startswith(f"{broken.path}: damaged")


def test_the_verb(
    demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(demo_mar, tmp_path)
    store = ["--model-store", str(tmp_path)]
    assert main(store) == 0
    memory, clash = capsys.readouterr().out.splitlines()
    assert memory.startswith("memory: of ")
    assert clash == "no clash: cat-breeds 1.0"
    assert main([*store, "--memory", "600"]) == 1
    assert capsys.readouterr().out.startswith("clash: memory: 600 MiB is too little for 1 worker of 4")
    monkeypatch.setenv("TS_JOB_QUEUE_SIZE", "2")
    monkeypatch.setenv("TS_MAX_RESPONSE_SIZE", "500")
    assert main(store) == 1
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition(": ")[0] for line in lines] == ["clash", "clash"]
    monkeypatch.setenv("TS_METRICS_ADDRESS", "http://127.0.0.1:8080")
    assert main(store) == 1
    assert "have one port, 8080" in capsys.readouterr().out
    assert main(["--model-store", "nowhere"]) == 1
