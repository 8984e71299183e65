"""Against a small OSV of our own: the real one is not to be had in a test."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports

from image.audit import main

ADVISORIES = {
    "pkg:pypi/torch@2.4.0": ["GHSA-53q9-r3pm-6pq6", "PYSEC-2025-41"],
    "pkg:maven/io.netty/netty-all@4": ["X-1"],
}


class Osv(BaseHTTPRequestHandler):
    """Answers one advisory a page."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        body = json.dumps({"results": [self._result(query) for query in queries]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _result(self, query: dict[str, Any]) -> dict[str, Any]:
        found = ADVISORIES.get(query["package"]["purl"], [])
        page = int(query.get("page_token", 0))
        if not found:
            return {}
        more = {"next_page_token": str(page + 1)} if page + 1 < len(found) else {}
        return {"vulns": [{"id": found[page], "modified": "2025-01-01T00:00:00Z"}], **more}

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", free_ports().inference), Osv) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _bill(path: Path, *purls: str) -> str:
    path.write_text(json.dumps({"components": [{"name": "file"}, *({"purl": purl} for purl in purls)]}))
    return str(path)


def test_what_is_known_is_listed(osv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fillers = [f"pkg:pypi/p{index}@1" for index in range(600)]
    bill = _bill(tmp_path / "bill.json", *fillers, *ADVISORIES, "pkg:deb/debian/bash@5")
    assert main([bill, "--source", osv]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert set(lines[:-1]) == {f"{purl}\t{' '.join(found)}" for purl, found in ADVISORIES.items()}
    assert lines[-1].startswith("2 of 602 packages")


def test_nothing_known(osv: str, tmp_path: Path) -> None:
    assert main([_bill(tmp_path / "bill.json", "pkg:pypi/fine@1"), "--source", osv]) == 0


def test_a_source_out_of_reach_is_no_all_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports().inference}"
    assert main([_bill(tmp_path / "bill.json", "pkg:pypi/fine@1"), "--source", nobody]) == 3
    assert "nothing was looked up" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"components": 1}'])
def test_what_is_no_bill(tmp_path: Path, content: str) -> None:
    (tmp_path / "bill.json").write_text(content)
    assert main([str(tmp_path / "bill.json")]) == 2
