#!/usr/bin/env python3
"""Lists known vulnerabilities of the Python packages and jars in a CycloneDX bill of materials, as osv.dev knows them.
Debian's packages are in the bill for scanners that know Debian's advisories.

Exit codes: 0 none is known, 1 some are, 2 wrong usage or no such bill, 3 the advisory source can't be reached: nothing
was looked up.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import requests

SOURCE = "https://api.osv.dev"
KINDS = ("pkg:pypi/", "pkg:maven/")
BATCH = 500  # packages in one question; the source takes 1000
TIMEOUT = 30.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        purls = read_purls(options.bill)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {options.bill}: not a CycloneDX bill of materials ({error})", file=sys.stderr)
        return 2
    try:
        known = look_up(purls, options.source)
    except (requests.RequestException, ValueError, KeyError) as error:
        print(f"{options.source} can't be reached ({type(error).__name__}): nothing was looked up", file=sys.stderr)
        return 3
    for purl, identifiers in known.items():
        print(f"{purl}\t{' '.join(identifiers)}")
    print(f"{len(known)} of {len(purls)} packages have known vulnerabilities; {options.source} says what they are")
    return 1 if known else 0


def read_purls(bill: Path) -> list[str]:
    """The package URLs of the Python packages and jars in a bill."""
    components = json.loads(bill.read_text(encoding="utf-8"))["components"]
    return [each["purl"] for each in components if each.get("purl", "").startswith(KINDS)]


def look_up(purls: list[str], source: str) -> dict[str, list[str]]:
    """Package URL → the identifiers of its advisories; those without any are left out."""
    known: dict[str, list[str]] = {}
    waiting: list[dict[str, Any]] = [{"package": {"purl": purl}} for purl in purls]
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        response = requests.post(f"{source}/v1/querybatch", json={"queries": batch}, timeout=TIMEOUT)
        response.raise_for_status()
        for query, result in zip(batch, response.json()["results"], strict=True):
            if found := [each["id"] for each in result.get("vulns", [])]:
                known.setdefault(query["package"]["purl"], []).extend(found)
            if token := result.get("next_page_token"):
                waiting.append({**query, "page_token": token})
    return known


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bill", type=Path, help="a CycloneDX file in JSON; the image has one: /app/sbom.cdx.json")
    parser.add_argument("--source", default=SOURCE, help="where OSV's API is (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
