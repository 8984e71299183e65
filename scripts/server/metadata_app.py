"""The process that answers what neither haproxy nor TorchServe can: the metadata of the Open Inference Protocol, and of
KServe v1. It listens on a unix socket behind haproxy. scripts/server/metadata.py starts it.
"""

import argparse
import logging
import re
from importlib.metadata import version
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scripts.server.catalog import Catalog, UnknownModelError
from scripts.server.client import ApiError, Client

logger = logging.getLogger("metadata")

SERVER = "torchserve"
NAME = re.compile(r"[\w.-]{1,200}")  # of models and versions: they go into the path of another request


def application(catalog: Catalog) -> Starlette:
    """Every error is `{"error": "code: message"}`."""

    def server(_: Request) -> Response:
        return JSONResponse({"name": SERVER, "version": version(SERVER), "extensions": ["binary_tensor_data"]})

    def metadata(request: Request) -> Response:
        return JSONResponse(catalog.metadata(*_named(request)))

    def ready(request: Request) -> Response:
        """A client takes the status for the answer."""
        model, of_version = _named(request)
        is_ready = catalog.ready(model, of_version)
        return JSONResponse({"name": model, "ready": is_ready}, 200 if is_ready else 503)

    def models(_: Request) -> Response:
        return JSONResponse({"models": catalog.models()})

    return Starlette(
        routes=[
            Route("/v2", server),
            Route("/v2/models/{model}", metadata),
            Route("/v2/models/{model}/versions/{version}", metadata),
            Route("/v2/models/{model}/ready", ready),
            Route("/v2/models/{model}/versions/{version}/ready", ready),
            Route("/v1/models", models),
            Route("/v1/models/{model}", ready),
        ],
        exception_handlers={
            HTTPException: lambda *_: _error(404, "not_found", "There is nothing here."),
            UnknownModelError: lambda *_: _error(404, "not_found", "There is no such model, or no such version of it."),
            ApiError: _unavailable,
            Exception: lambda *_: _error(500, "internal_error", "The server failed on this request."),
        },
    )


def _named(request: Request) -> tuple[str, str | None]:
    model, of_version = request.path_params["model"], request.path_params.get("version")
    if not all(NAME.fullmatch(name) for name in (model, of_version) if name is not None):
        raise UnknownModelError
    return model, of_version


def _unavailable(_: Request, error: Exception) -> Response:
    logger.warning(str(error))
    return _error(503, "unavailable", "The server is starting, stopping or busy.", {"Retry-After": "5"})


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": f"{code}: {message}"}, status, headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("socket", "inference", "management", "keys"):
        parser.add_argument(name)
    options = parser.parse_args()
    client = Client(options.inference, options.management, Path(options.keys))
    app = application(Catalog(client))
    uvicorn.run(app, uds=options.socket, log_level="warning", access_log=False, server_header=False, lifespan="off")


if __name__ == "__main__":
    main()
