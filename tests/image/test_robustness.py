"""The attacks of bench/robustness.py that cost the most, against the container."""

from pathlib import Path

import pytest
from samples import PHOTOS

from bench.attacks import FLOOD, attacks
from bench.robustness import main


def test_the_short_form(images: dict[str, str], demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = PHOTOS / "chelsea.png"
    options = ["--archive", str(demo_mar), "--photo", str(photo), "--image", images["slim"]]
    main(["--short", "--against", "container", *options])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("|")][2:]
    assert len(rows) == sum(attack.short for attack in attacks(photo.read_bytes())), printed
    bodies = [row.split(" | ")[2] for row in rows if "bodies at once" in row]
    assert bodies[:3] == [f"{FLOOD} `ok`"] * 3, printed
    for what in ("replaced", "answered"):  # how long it takes, and what Java keeps, depend on what runs beside it
        assert what not in printed, printed
