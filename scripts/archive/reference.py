"""A pipeline of training's own code, by its place in Python: package.module:name. That code runs in the build alone."""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handler.preprocess  # noqa: F401  (first: it keeps albumentations from asking the network at import)

# isort: split
import albumentations as A

from handler.errors import LoadError, one_line

REFERENCE = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+(?:\.\w+)*)")
OURS = "handler.pillow."
PIPELINES = (A.BaseCompose, A.BasicTransform)


def read_reference(reference: str) -> dict[str, Any]:
    """What `albumentations.to_dict` gives of the pipeline, or of what the function of that name returns.

    The module is imported as from the working directory. Raises LoadError.
    """
    parts = REFERENCE.fullmatch(reference)
    if parts is None:
        raise LoadError("pipeline", f"{reference}, expected package.module:name")
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    try:
        pipeline: Any = importlib.import_module(parts["module"])
        for name in parts["name"].split("."):
            pipeline = getattr(pipeline, name)
        if inspect.isroutine(pipeline):
            pipeline = pipeline()
    except Exception as error:  # whatever that code raises
        raise LoadError(reference, f"can't be imported: {type(error).__name__}: {one_line(error)}") from None
    finally:
        sys.path.remove(directory)
    if not isinstance(pipeline, PIPELINES):
        kind = f"{type(pipeline).__module__}.{type(pipeline).__qualname__}"
        raise LoadError(reference, f"a {kind}, expected an albumentations pipeline, or a function that returns one")
    try:
        serialized: dict[str, Any] = json.loads(json.dumps(A.to_dict(pipeline)))
    except Exception as error:  # of a transform that holds code, such as Lambda
        raise LoadError(reference, f"can't be written as data: {one_line(error)}") from None
    for name in _names(serialized):
        # Here its class is imported; on the server it would be missing.
        if "." in name and not name.startswith(OURS):
            raise LoadError(reference, f"{name}: not a transform of albumentations, which the server alone has")
    return serialized


def _names(step: Any) -> Iterator[str]:
    if isinstance(step, dict):
        if "__class_fullname__" in step:
            yield str(step["__class_fullname__"])
        for inner in step.values():
            yield from _names(inner)
    elif isinstance(step, list):
        for inner in step:
            yield from _names(inner)
