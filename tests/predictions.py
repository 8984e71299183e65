"""A server that answers /predictions as a test says, in TorchServe's place."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, dict[str, str]]  # status, JSON or bytes, headers


def always(status: int, content: Any) -> Callable[[bytes], Answer]:
    return lambda _: (status, content, {})


@dataclass
class Server:
    answer: Callable[[bytes], Answer]  # to each POST, by its body
    described: Any  # the answer to each GET
    url: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)  # the headers of each POST, in lower case


@contextmanager
def serving(answer: Callable[[bytes], Answer], described: Any = None) -> Iterator[Server]:
    state = Server(answer, described)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            state.seen.append({name.lower(): value for name, value in self.headers.items()})
            self._send(*state.answer(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._send(200, state.described, {})

        def _send(self, status: int, content: Any, headers: dict[str, str]) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
