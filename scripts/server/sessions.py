"""The requests that are inside haproxy, as `show sess all` prints them, and the answers of TorchServe by `show stat`.

The form is that of haproxy 2.6 and 2.8 (its management guide, "show sess" and "show stat").
"""

import csv
import re
from dataclasses import dataclass

START = re.compile(r"^(0x[0-9a-f]+): \[(.+?)\]", re.MULTILINE)
SERVER = "torchserve"


@dataclass(frozen=True)
class Session:
    """One request."""

    id: str
    began: str  # its date and time: haproxy uses an id again
    in_server: bool  # whether TorchServe takes it; else it waits in haproxy's queue
    uploading: bool  # whether a part of its body is still to come
    received: int  # bytes of its headers and body


def read_sessions(text: str) -> list[Session]:
    """Those of the inference backends."""
    sessions = []
    starts = list(START.finditer(text))
    for start, end in zip(starts, [*(each.start() for each in starts[1:]), len(text)], strict=True):
        block = text[start.end() : end]
        backend, server = _find(r"^  backend=(\S+)", block), _find(r"^  server=(\S+)", block)
        if backend is None or not backend.startswith("inference"):
            continue
        state, total = _find(r"req\.st=(\S+)", block), _find(r"^  req=.*total=(\d+)", block)
        sessions.append(Session(start[1], start[2], server == SERVER, state == "MSG_DATA", int(total or 0)))
    return sessions


def count_answers(text: str) -> int:
    """The answers of every status that TorchServe gave to requests for inference."""
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return sum(
        int(row[f"hrsp_{hundred}xx"] or 0)
        for row in rows
        if row["pxname"].startswith("inference") and row["svname"] == SERVER
        for hundred in range(1, 6)
    )


def _find(pattern: str, block: str) -> str | None:
    found = re.search(pattern, block, re.MULTILINE)
    return found[1] if found else None
