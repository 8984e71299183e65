"""How many threads this process may run. With more busy threads than cores, each of them gets slower."""

import math
import os
from pathlib import Path

import cv2
import torch

CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Cores that this process may use, by its affinity and by its container's quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroups)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def share_cores(workers: int) -> int:
    """Cores for each of so many workers; at least one."""
    return max(1, available_cores() // workers)


def use_threads(torch_threads: int) -> None:
    """Sets the threads of this whole process. OpenCV gets none of its own, as photos are resized side by side."""
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(0)


def _quota(cgroups: Path) -> float | None:
    """The quota in cores, by cgroup version 2, else version 1. None where nothing limits them."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in files).split()
        except (OSError, ValueError):
            continue
        return int(quota) / int(period) if quota.isdecimal() else None
    return None
