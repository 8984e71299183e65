"""Archives made of another one in no time: renamed, of another version, with faults or damage."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from handler.golden import GOLDEN_FILE
from handler.settings import CONFIG_FILE
from scripts.archive.manifest import MANIFEST


def edited(source: Path, target: Path, edit: Callable[[str, bytes], bytes]) -> Path:
    """Each file of `source`, by its name, as `edit` gives it. Nothing is checked. Returns target."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))
    return target


def renamed(source: Path, target: Path, name: str, version: str = "1.0", **torchserve: Any) -> Path:
    """The same model under another name, with these keys of model-config.yaml changed. Returns target."""

    def edit(file: str, content: bytes) -> bytes:
        if file == MANIFEST:
            manifest = json.loads(content)
            manifest["model"] |= {"modelName": name, "modelVersion": version}
            return json.dumps(manifest).encode()
        if file == CONFIG_FILE:
            return yaml.safe_dump(yaml.safe_load(content) | torchserve).encode()
        return content

    return edited(source, target, edit)


def with_wrong_golden(source: Path, target: Path, change: float, handler: dict[str, Any] | None = None) -> Path:
    """The first golden input's first score off by `change`, and these keys of `handler` changed. Returns target."""

    def edit(file: str, content: bytes) -> bytes:
        if file == GOLDEN_FILE:
            golden = json.loads(content)
            next(iter(golden.values()))[0] += change
            return json.dumps(golden).encode()
        if file == CONFIG_FILE:
            config = yaml.safe_load(content)
            return yaml.safe_dump(config | {"handler": config["handler"] | (handler or {})}).encode()
        return content

    return edited(source, target, edit)
