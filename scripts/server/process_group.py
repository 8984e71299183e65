"""Stopping a process together with the processes that it started."""

import contextlib
import os
import signal
import subprocess
from typing import Any


def stop_group(process: subprocess.Popen[Any], grace: float) -> bool:
    """Asks the leader of a process group to stop. When it has ended, or after `grace` seconds, kills the rest of the
    group. Returns whether the leader ended in time."""
    process.terminate()
    in_time = True
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        in_time = False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return in_time
