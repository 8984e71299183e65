"""What .ci/run says of its parts, which are stubs here: the parts themselves take 40 minutes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from scripts.paths import ROOT

BESIDE = ", beside the parts above"
ROW = r"^(\w+) +(\d+)  (.+)$"
# `make fuzz` runs beside `make test`, and ends before it.
MAKE = """#!/bin/sh
case "$1" in
    fuzz) echo fuzzed; touch "$STUBS/fuzzed" ;;
    test) until [ -e "$STUBS/fuzzed" ]; do sleep 0.1; done; sleep 3 ;;
    test-image) kill -9 $PPID ;;
    again) exit 1 ;;
esac
"""


def test_a_part_beside_others_is_listed_with_its_own_end(tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("promtool", "wrk", "chromium", "haproxy", "python3.11"):
        (stubs / name).symlink_to("/bin/true")
    (stubs / "python3.12").symlink_to("/bin/false")
    (stubs / "make").write_text(MAKE)
    (stubs / "make").chmod(0o755)
    (stubs / "uname").write_text("#!/bin/sh\necho Linux x86_64\n")
    (stubs / "uname").chmod(0o755)
    (tmp_path / "project" / ".ci").mkdir(parents=True)
    script = Path(shutil.copy(ROOT / ".ci" / "run", tmp_path / "project" / ".ci"))
    text = script.read_text(encoding="utf-8")
    assert text.endswith('\njoin\nexit "$failed"\n')
    script.write_text(text.replace("\njoin\nexit", "\njoin\nbeside again make again\njoin\nexit"), encoding="utf-8")
    environment = {**os.environ, "PATH": f"{stubs}:/usr/bin:/bin", "STUBS": str(stubs), "PYENV_ROOT": str(tmp_path)}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stderr.count("\n") <= 1, done.stderr  # bash says that one was killed
    assert done.stdout.count("\nfuzzed\n") == 1
    table = done.stdout.partition("RESULT")[2]
    rows = {part: (result, int(seconds)) for result, seconds, part in re.findall(ROW, table, re.MULTILINE)}
    beside = {part.removesuffix(BESIDE): row for part, row in rows.items() if part.endswith(BESIDE)}
    assert {part: result for part, (result, _) in beside.items()} == {
        "make fuzz": "passed",
        "make test-image": "FAILED",
        "again": "FAILED",
    }, done.stdout
    [whole] = re.findall(r"^ +(\d+)  in all$", table, re.MULTILINE)
    assert beside["make fuzz"][1] <= int(whole) - 3, "its end is that of the parts which end 3 s later"
    assert rows["Python 3.12"][0] == "absent"
    assert done.returncode == 1
