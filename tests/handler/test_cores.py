import os
from pathlib import Path

import pytest

from handler.cores import available_cores, share_cores

CORES = len(os.sched_getaffinity(0))


def test_without_a_limit_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == CORES
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == CORES


@pytest.mark.parametrize(("quota", "cores"), [(50_000, 1), (100_000, 1), (150_000, min(2, CORES)), (10**9, CORES)])
def test_a_container_s_quota_in_either_version(tmp_path: Path, quota: int, cores: int) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "cpu.max").write_text(f"{quota} 100000\n")
    (tmp_path / "1" / "cpu").mkdir(parents=True)
    (tmp_path / "1" / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "1" / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path / "2") == available_cores(tmp_path / "1") == cores


def test_version_1_says_no_limit_as_minus_one(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == CORES


def test_workers_share_and_none_goes_without() -> None:
    assert share_cores(1) == available_cores()
    assert share_cores(1000) == 1
