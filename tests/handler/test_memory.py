import json
import subprocess
import sys
from pathlib import Path

from handler.decode import BYTES_A_PIXEL


def test_decoding_stays_within_its_bound() -> None:
    """For each thread, however many images a batch has: docs/operations.md says what a worker takes in all."""
    script = Path(__file__).with_name("memory.py")
    done = subprocess.run([sys.executable, script, "2"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(found)
    assert len(found) == 5
    assert max(found.values()) <= BYTES_A_PIXEL
    assert max(found.values()) > BYTES_A_PIXEL / 2, "the bound says nothing"
