#!/usr/bin/env python3
"""Classifies photos with a running server and prints their labels. Needs `requests` alone.

python examples/client.py cat.jpg dog.jpg
CLASSIFIER_URL=http://127.0.0.1:8080/predictions/my-model python examples/client.py cat.jpg
"""

import os
import sys
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

URL = os.environ.get("CLASSIFIER_URL", "http://127.0.0.1:8080/predictions/cat-breeds")
TIMEOUT = (3, 60)  # seconds to connect, and to wait for the answer

# 503 means that the queue is full or the server is starting. Its Retry-After header is honoured; a photo can safely be
# sent again, since a request changes nothing on the server.
BUSY = Retry(total=5, backoff_factor=0.5, status_forcelist=[503], allowed_methods=None, raise_on_status=False)


def open_session() -> requests.Session:
    """A session keeps its connection open from photo to photo."""
    session = requests.Session()
    session.trust_env = False  # no proxy from the environment, no credentials from ~/.netrc
    session.mount("http://", HTTPAdapter(max_retries=BUSY))
    session.mount("https://", HTTPAdapter(max_retries=BUSY))
    return session


def classify(session: requests.Session, photo: bytes) -> dict[str, Any]:
    """The server's answer: labels, top_k, fallback and model, as in docs/api.md.

    Raises requests.RequestException when no answer comes, and ValueError with the server's code and message when it
    refuses the photo.
    """
    headers = {"Content-Type": "application/octet-stream", "X-Top-K": "3"}
    response = session.post(URL, data=photo, headers=headers, timeout=TIMEOUT)
    if response.status_code == 200:
        answer: dict[str, Any] = response.json()
        return answer
    try:
        error = response.json()["error"]
    except (ValueError, KeyError):  # TorchServe's own answers have another form, or none
        raise ValueError(f"{response.status_code} {response.text[:200] or response.reason}") from None
    raise ValueError(f"{error['code']}: {error['message']}")


def main(photos: list[str]) -> int:
    """Returns 0 if every photo was classified, else 1."""
    failed = 0
    with open_session() as session:
        for photo in photos:
            try:
                answer = classify(session, Path(photo).read_bytes())
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
                failed += 1
                print(f"{photo}: {error}", file=sys.stderr)
                continue
            labels = [f"{label['name']} {label['score']:.3f}" for label in answer["labels"]]
            print(f"{photo}: {', '.join(labels) or 'no label'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
