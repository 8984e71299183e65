"""What is sent to a server to take it down, and what is done to it. Each attack is made here."""

import base64
import gzip
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import psutil
import requests
from PIL import Image

from bench.costly import flat
from bench.decoding import images
from bench.targets import Container, Target
from scripts.server.session import direct_session

MANY = 8  # clients
COSTLIEST = ("the same, progressive", "WebP, 17", "PNG, 800,000")  # sent many at once
FLOOD = 32  # clients, where bodies are what costs
SLOW = 60  # clients that never get ready
SEED = 20
PATIENCE = 120.0  # seconds
BODY = (1900, 1800)  # of a BMP of nearly 10 MiB, as large as an image may be
JUNK = 16 * 2**20 - 1000  # bytes, as large as a body may be
SILENT = "no answer"  # the outcome where nothing came in time, or nobody listens


@dataclass(frozen=True)
class Sent:
    requests: int
    bytes: int
    codes: Counter[str]  # of the answers: that of the error, `ok`, or how the connection ended without one
    at_once: int = 1  # how many cost memory at the same time
    harmed: float | None = None  # when a worker was, of time.monotonic()


@dataclass(frozen=True)
class Attack:
    name: str
    run: Callable[[Target, str], Sent]  # gets the model's name
    kills: bool = False  # whether it ends a worker by itself
    contained: bool = False  # whether it is for the container alone
    short: bool = False  # whether it is part of the short form


def attacks(photo: bytes) -> Iterator[Attack]:
    """photo: a real one. In the order in which they are told of."""
    everything = images()
    for name, content in everything.items():
        yield Attack(f"{name}, one", partial(_post_all, [content], 1), contained=True)
        if name.startswith(COSTLIEST):
            yield Attack(f"{name}, {MANY} at once", partial(_post_all, [content] * MANY, MANY), short="WebP" in name)
    costly = everything["WebP, 17 megapixels, alpha, turned"]
    many_images = {"files": [(f"image{number}", ("a.webp", costly)) for number in range(16)]}
    yield Attack("a form of 16 such WebPs", partial(_forms, [many_images], 16 * len(costly), 1), short=True)
    yield Attack("400 damaged photos", partial(_post_all, list(damaged(photo, 400)), 4), short=True)
    yield from _bodies()
    yield Attack(f"{SLOW} bodies at 1 kB/s", _slow_bodies, short=True)
    yield Attack(f"{SLOW} headers at 1 byte/s", _slow_headers)
    yield Attack("framing: 20 kinds of broken HTTP, 5 of each", _framing, short=True)
    yield Attack("the disk for logs is full", partial(_full_disk, photo), contained=True)
    yield Attack("a worker is stopped", partial(_signalled, signal.SIGSTOP, photo), kills=True, contained=True)
    yield Attack("a worker is killed", partial(_signalled, signal.SIGKILL, photo), kills=True, short=True)


def post(url: str, **arguments: Any) -> str:
    """`ok`, the error's code, the bare status, `closed`, or SILENT."""
    try:
        with direct_session() as session:
            answer = session.post(url, timeout=PATIENCE, **arguments)
    except requests.RequestException as error:
        return _unanswered(error)
    if answer.status_code == 200:
        return "ok"
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)


def _unanswered(error: BaseException) -> str:
    """`closed` if the server ended the connection, else SILENT: by what the error was at first."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return SILENT if isinstance(error, (TimeoutError, ConnectionRefusedError)) else "closed"


def _predictions(target: Target, model: str) -> str:
    return f"{target.url}/predictions/{model}"


def _post_all(contents: Sequence[bytes], clients: int, target: Target, model: str) -> Sent:
    headers = {"Content-Type": "application/octet-stream"}
    forms = [{"data": content, "headers": headers} for content in contents]
    return _forms(forms, sum(map(len, contents)), clients, target, model)


def _forms(forms: Sequence[Mapping[str, Any]], size: int, clients: int, target: Target, model: str) -> Sent:
    """forms: the arguments of each request. size: bytes of all."""
    url = _predictions(target, model)
    with ThreadPoolExecutor(clients) as pool:
        codes = Counter(pool.map(lambda form: post(url, **form), forms))
    return Sent(len(forms), size, codes, clients)


def _bodies() -> Iterator[Attack]:
    body = flat("RGB", "BMP", BODY)
    text = json.dumps({"image": base64.b64encode(body).decode()})
    objects = b"[" + b"{}," * (len(body) // 3) + b"{}]"
    zeros = gzip.compress(bytes(256_000_000))
    kinds: dict[str, tuple[dict[str, Any], int]] = {
        f"{len(body) / 1e6:.1f} MB": ({"data": body}, len(body)),
        "the same in a form": ({"files": {"data": ("photo.bmp", body)}}, len(body)),
        "the same in JSON": ({"data": text, "headers": {"Content-Type": "application/json"}}, len(text)),
        "16 MiB that are no image": ({"data": b"x" * JUNK}, JUNK),
        "empty objects in JSON": ({"data": objects, "headers": {"Content-Type": "application/json"}}, len(objects)),
        "256 MB of zeros, compressed": ({"data": zeros, "headers": {"Content-Encoding": "gzip"}}, len(zeros)),
    }
    for name, (form, size) in kinds.items():
        yield Attack(
            f"{FLOOD} bodies at once, {name}", partial(_forms, [form] * FLOOD, FLOOD * size, FLOOD), short=True
        )


def damaged(photo: bytes, number: int) -> Iterator[bytes]:
    """Of each format in turn, with bytes changed or an end missing."""
    rng = random.Random(SEED)  # noqa: S311
    whole = []
    with Image.open(BytesIO(photo)) as image:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
            file = BytesIO()
            image.convert("RGB").resize((320, 240)).save(file, kind)
            whole.append(file.getvalue())
    for index in range(number):
        content = bytearray(whole[index % len(whole)])
        for _ in range(rng.randint(1, 20)):
            # Headers are at the beginning, and they decide the most.
            content[rng.randrange(rng.choice((64, 1024, len(content))))] = rng.randrange(256)
        yield bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])


def _slow_bodies(target: Target, model: str) -> Sent:
    head = f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".encode()
    return _dribble(target, head, b"x" * 1000)


def _slow_headers(target: Target, model: str) -> Sent:
    return _dribble(target, f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\nX-A: ".encode(), b"x")


def _dribble(target: Target, head: bytes, piece: bytes, seconds: int = 14) -> Sent:
    """A piece a second. What the server says meanwhile, or that it has closed."""
    connections = [_connect(target) for _ in range(SLOW)]
    sent, codes = 0, Counter[str]()
    for second in range(seconds):
        for connection in list(connections):
            try:
                part = piece if second else head
                connection.sendall(part)
                sent += len(part)
            except OSError as error:
                connections.remove(connection)
                connection.close()
                codes[_unanswered(error)] += 1
        time.sleep(1)
    for connection in connections:
        connection.close()
    codes["open to the end"] += len(connections)
    return Sent(SLOW, sent, codes, SLOW)


def _broken(model: str) -> list[bytes]:
    path = f"/predictions/{model}"
    post = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    return [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /ping\r\n\r\n",
        f"GET {path} HTTP/9.9\r\nHost: x\r\n\r\n".encode(),
        b"GET /ping HTTP/1.1\nHost: x\n\n",
        f"GET /{'a' * 100_000} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT localhost:8081 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        post + b"Content-Length: -5\r\n\r\nabcdef",
        post + b"Content-Length: 99999999999999999999\r\n\r\nabcdef",
        post
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /models HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: gzip\r\n\r\nabcdef",
        post + b"Expect: 200-maybe\r\nContent-Length: 6\r\n\r\nabcdef",
    ]


def _framing(target: Target, model: str) -> Sent:
    """Half of each connection is closed after it has sent, as the server would wait for more of some."""
    messages = [message for message in _broken(model) for _ in range(5)]
    with ThreadPoolExecutor(20) as pool:
        codes = Counter(pool.map(partial(_raw, target), messages))
    return Sent(len(messages), sum(map(len, messages)), codes, 20)


def _raw(target: Target, message: bytes) -> str:
    try:
        with _connect(target) as connection:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
    except OSError as error:
        return _unanswered(error)
    return answer.split()[1].decode() if answer.startswith(b"HTTP/") else "no HTTP" if answer else "closed"


def _connect(target: Target) -> socket.socket:
    return socket.create_connection(("127.0.0.1", target.port), timeout=20)


def _full_disk(photo: bytes, target: Target, model: str) -> Sent:
    assert isinstance(target, Container)
    target.fill_disk()
    try:
        return _post_all([photo] * 50, MANY, target, model)
    finally:
        target.free_disk()


def _signalled(number: signal.Signals, photo: bytes, target: Target, model: str) -> Sent:
    """Under load, until the worker has ended: a stopped one is ended by the server."""
    worker = target.workers()[0]
    url, codes, over = _predictions(target, model), Counter[str](), threading.Event()

    def ask() -> None:
        while not over.is_set():
            codes[post(url, data=photo)] += 1

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        try:
            time.sleep(2)
            harmed = time.monotonic()
            worker.send_signal(number)
            with suppress(psutil.TimeoutExpired):  # then no other has replaced it, which is a limit that does not hold
                worker.wait(PATIENCE)
        finally:
            over.set()
        for each in asked:
            each.result()
    return Sent(codes.total(), codes.total() * len(photo), codes, 4, harmed)
