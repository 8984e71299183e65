"""What is seen of a program while it runs."""

import pytest
from programs import Program
from samples import wait_for

from bench.watch import Watch

# Fills 60 MB, and takes half a second of a core, after it has read a line.
BUSY = """
import time
input()
kept = b"x" * 60_000_000
while time.process_time() < 0.5:
    pass
print(flush=True)
input()
"""


def test_what_a_program_takes_is_what_it_took_within_the_block() -> None:
    with Program(BUSY) as program:
        with Watch(program) as watch:
            program.go_on()
        with Watch(program) as after:
            pass
    assert watch.memory > 50_000_000
    assert watch.processor > 0.4
    assert after.memory < 10_000_000


@pytest.mark.parametrize("says", [True, False])
def test_what_ready_says_is_kept(says: bool) -> None:
    with Program("input()", ready=says) as program, Watch(program) as watch:
        wait_for(lambda: program.asked > 2)
    assert set(watch.ready) == {says}
