#!/usr/bin/env python3
"""Lists the known vulnerabilities of the Python packages and jars in a CycloneDX bill of materials, from osv.dev.

Debian's packages are not looked up: use a scanner that reads Debian's advisories.

Exit codes: 0 if none is known, 1 if some are, 2 for wrong usage or a file that is not a bill, 3 if the source can't be
reached and so nothing was looked up.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import requests

SOURCE = "https://api.osv.dev"
KINDS = ("pkg:pypi/", "pkg:maven/")
BATCH = 500  # packages in one request; the source accepts 1000
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
    print(f"{len(known)} of {len(purls)} packages have known vulnerabilities; {options.source} has the details")
    return 1 if known else 0


def read_purls(bill: Path) -> list[str]:
    """The package URLs of the Python packages and jars in a bill."""
    components = json.loads(bill.read_text(encoding="utf-8"))["components"]
    return [component["purl"] for component in components if component.get("purl", "").startswith(KINDS)]


def look_up(purls: list[str], source: str) -> dict[str, list[str]]:
    """Package URL → the identifiers of its advisories, without packages that have none."""
    known: dict[str, list[str]] = {}
    waiting: list[dict[str, Any]] = [{"package": {"purl": purl}} for purl in purls]
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        response = requests.post(f"{source}/v1/querybatch", json={"queries": batch}, timeout=TIMEOUT)
        response.raise_for_status()
        for query, result in zip(batch, response.json()["results"], strict=True):
            if identifiers := [advisory["id"] for advisory in result.get("vulns", [])]:
                known.setdefault(query["package"]["purl"], []).extend(identifiers)
            if token := result.get("next_page_token"):
                waiting.append({**query, "page_token": token})
    return known


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bill", type=Path, help="a CycloneDX file in JSON, such as the image's /app/sbom.cdx.json")
    parser.add_argument("--source", default=SOURCE, help="OSV's API (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
