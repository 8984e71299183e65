#!/usr/bin/env python3
"""Classifies photos with a running server and prints their labels. It needs `requests` and nothing of this project.

Exit codes: 0 every photo was classified, 1 the server refused a photo or a photo can't be read, 2 wrong usage,
3 the server can't be reached or failed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import requests

URL = "http://127.0.0.1:8080/predictions/cat-breeds"
BAR = 24  # characters of a bar that stands for a score of 1
EIGHTHS = " ▏▎▍▌▋▊▉"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    results = []
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment can't reach a server on loopback
        for photo in options.photo:
            result = classify(session, options, photo)
            results.append(result)
            if options.json:
                print(json.dumps(result))
            else:
                print(table(result), flush=True)
    return max(int(result["exit_code"]) for result in results)


def classify(session: requests.Session, options: argparse.Namespace, photo: Path) -> dict[str, Any]:
    """Returns {photo, status, exit_code} with the server's `answer`, or with an `error`."""
    headers = {"Content-Type": "application/octet-stream"}
    wanted = {
        "X-Threshold": options.threshold,
        "X-Top-K": options.top_k,
        "X-All-Scores": "true" if options.all else None,
    }
    headers |= {name: str(value) for name, value in wanted.items() if value is not None}
    result: dict[str, Any] = {"photo": str(photo), "status": None}
    try:
        response = session.post(options.url, data=photo.read_bytes(), headers=headers, timeout=options.timeout)
    except requests.RequestException as cause:
        return {**result, "error": f"no answer from {options.url} ({type(cause).__name__})", "exit_code": 3}
    except OSError as cause:
        return {**result, "error": cause.strerror, "exit_code": 1}
    result["status"] = response.status_code
    try:
        result["answer"] = response.json()
    except ValueError:
        result["answer"] = {}
    if response.status_code == 200 and _is_classification(result["answer"]):
        return {**result, "exit_code": 0}
    message = _error_text(result["answer"]) or response.reason
    return {**result, "error": message, "exit_code": 1 if 400 <= response.status_code < 500 else 3}


def _is_classification(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.keys() >= {"labels", "top_k", "fallback", "model"}


def _error_text(answer: Any) -> str:
    """The code and message of an error of this project, of TorchServe or of another server; empty if it has neither."""
    error = answer.get("error", answer) if isinstance(answer, dict) else {}
    if not isinstance(error, dict):
        return str(error)
    return f"{error.get('code', '')} {error.get('message', '')}".strip()


def table(result: dict[str, Any]) -> str:
    """A result as lines of text: the labels that fired, marked, and the best others."""
    if "error" in result:
        status = f" ({result['status']})" if result["status"] else ""
        return f"{result['photo']}\n  error{status}: {result['error']}"
    answer = result["answer"]
    model = answer["model"]
    fired = {label["index"] for label in answer["labels"]}
    rows = {label["index"]: label for label in answer["labels"] + answer["top_k"]}
    for index, (name, score) in enumerate(answer.get("scores", {}).items()):
        rows.setdefault(index, {"name": name, "index": index, "score": score, "threshold": None})
    width = max((len(row["name"]) for row in rows.values()), default=0)
    lines = [f"{result['photo']}  {model['name']} {model['version']}"]
    for row in sorted(rows.values(), key=lambda row: -row["score"]):
        mark = "●" if row["index"] in fired else " "
        threshold = "" if row["threshold"] is None else f"  ≥ {row['threshold']:.2f}"
        lines.append(f"  {mark} {row['name']:<{width}}  {bar(row['score'])}  {row['score']:.3f}{threshold}")
    if answer["fallback"]:
        lines.append("  no score reached its threshold" + (": the best label stands in" if fired else ""))
    return "\n".join(lines)


def bar(score: float) -> str:
    """A bar of BAR characters, in eighths of a character."""
    whole, eighths = divmod(round(score * BAR * 8), 8)
    return ("█" * whole + (EIGHTHS[eighths] if whole < BAR else "")).ljust(BAR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photo", nargs="+", type=Path)
    add("--url", default=URL, help="default: %(default)s")
    add("--threshold", help="for these photos: a number, or JSON such as '{\"lynx\": 0.2}'")
    add("--top-k", type=int, help="number of best scores to show")
    add("--all", action="store_true", help="show every score")
    add("--json", action="store_true", help="print a JSON object for each photo")
    add("--timeout", type=float, default=60.0, help="seconds to wait for an answer (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
