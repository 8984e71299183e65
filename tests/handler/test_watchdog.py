"""A batch that hangs, in a process of its own: it is ended from outside Python."""

import subprocess
import sys

import pytest

from handler.watchdog import LEAST, Watchdog

HANGS = """
import time
from handler import watchdog

watchdog.LEAST = 0.2
dog = watchdog.Watchdog(0.001, 8, 0.001, 60)

def hang():
    while True:
        time.sleep(0.1)

with dog.{first}(8):
    pass
time.sleep(0.5)
print("what is done in time goes on", flush=True)
with dog.{second}(8):
    hang()
"""


@pytest.mark.parametrize(("first", "second"), [("preparing", "scoring"), ("scoring", "preparing")])
def test_a_batch_that_hangs_ends_the_process_which_says_where(first: str, second: str) -> None:
    program = HANGS.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == "what is done in time goes on\n"
    assert "Timeout (0:00:00.200000)!" in done.stderr
    assert "in hang" in done.stderr


def test_the_limits_follow_the_warm_up_within_bounds() -> None:
    assert "takes 10 s there, or 27 s before it" in str(Watchdog(0.1, 8, 2, 30))
    assert "takes 27 s there, or 27 s before it" in str(Watchdog(1, 8, 2, 30)), "nine tenths of the server's"
    assert "takes 50 s there, or 54 s before it" in str(Watchdog(1, 8, 2, 60))
    assert "takes 9 s there, or 9 s before it" in str(Watchdog(0.001, 8, 2, LEAST))
