"""What operators decided: kept, read again, and never in the way of a start."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handler.server_settings import ServerSettings
from handler.settings import Settings
from scripts.archive.manifest import Archive
from scripts.archive.outline import Outline, Sizes
from scripts.server.decisions import FILE, Decisions

OLD, NEW, DOGS = (
    Archive(Path(f"{name}.mar"), name.partition("-")[0], version)
    for name, version in (("cats-1", "1.0"), ("cats-2", "2.0"), ("dogs", "1.0"))
)


def test_what_is_kept_is_read_by_the_next_one(tmp_path: Path) -> None:
    first, second = Decisions(tmp_path), Decisions(tmp_path)
    assert (second.promoted("cats"), second.workers("cats", "1.0")) == (None, None)
    assert first.keep_version("cats", "1.0") is None
    assert first.keep_workers("cats", "1.0", 3) is None
    assert (second.promoted("cats"), second.workers("cats", "1.0"), second.workers("cats", "2.0")) == ("1.0", 3, None)
    assert first.forget("cats", "2.0") is None
    assert second.promoted("cats") == "1.0"
    assert first.forget("cats", "1.0") is None
    assert (second.promoted("cats"), second.workers("cats", "1.0")) == (None, None)


def test_the_promoted_version_comes_first_and_has_its_workers(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    assert decisions.in_order([NEW, OLD, DOGS]) == [NEW, OLD, DOGS]
    decisions.keep_version("cats", "1.0")
    decisions.keep_workers("cats", "1.0", 3)
    assert decisions.in_order([NEW, OLD, DOGS]) == [OLD, NEW, DOGS]
    outlines = [Outline(archive, (), Settings("tiny"), ServerSettings(), Sizes(0, 0)) for archive in (NEW, OLD)]
    servers = [outline.server for outline in decisions.outlines(outlines)]
    assert [(server.minWorkers, server.maxWorkers) for server in servers] == [(None, None), (3, 3)]


def test_a_promoted_version_that_is_gone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    decisions = Decisions(tmp_path)
    decisions.keep_version("cats", "0.9")
    assert decisions.in_order([NEW, OLD, DOGS]) == [NEW, OLD, DOGS]
    assert "cats 0.9: was promoted and is not in the model store; the newest serves" in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", '{"cats": 5}', '{"cats": {"version": 5, "workers": [1]}}', ""])
def test_a_broken_file_stops_nothing(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text(content)
    decisions = Decisions(tmp_path)
    assert decisions.in_order([NEW, OLD]) == [NEW, OLD]
    assert decisions.workers("cats", "1.0") is None
    if "version" not in content:
        assert "not readable as decisions, so the archives decide" in caplog.text


def test_without_a_directory_it_is_said_that_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    decisions = Decisions(tmp_path / "none")
    assert decisions.keep_version("cats", "1.0") == f"{tmp_path / 'none'}: No such file or directory"
    assert decisions.in_order([NEW, OLD]) == [NEW, OLD]
    assert caplog.text == "", "a server without the directory is no error"


def test_many_operators_at_once_lose_nothing(tmp_path: Path) -> None:
    def keep(number: int) -> str | None:
        return Decisions(tmp_path).keep_workers("cats", str(number), number + 1)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(keep, range(40))) == {None}
    kept = json.loads((tmp_path / FILE).read_text())["cats"]["workers"]
    assert kept == {str(number): number + 1 for number in range(40)}
