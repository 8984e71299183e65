"""A process together with the processes that it starts."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def start_group(
    command: Sequence[str], directory: Path, console: Path | None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts the leader of a process group, in a session of its own: a Ctrl-C in the terminal doesn't reach it.

    console: the file for what it prints, by default this process's console. environment: by default this process's.
    """
    with contextlib.ExitStack() as stack:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if console is None else stack.enter_context(console.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


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
