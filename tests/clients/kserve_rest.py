"""What KServe's InferenceRESTClient gets of a server, as JSON: run in an environment of its own by
tests/live/test_clients.py."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, model, photo = sys.argv[1:]
image = Path(photo).read_bytes()
text = base64.b64encode(image).decode()


def _request(content: Any, binary: bool = True) -> InferRequest:
    tensor = InferInput("images", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=object), binary_data=binary)
    return InferRequest(model, [tensor], request_id="7")


async def main() -> dict[str, Any]:
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    body = json.dumps({"instances": [{"b64": text}]}).encode()
    answers = {
        "binary": await v2.infer(url, _request(image), model_name=model),
        "json": await v2.infer(url, _request(text.encode(), binary=False), model_name=model),
        "plain": await v2.infer(
            url, InferRequest(model, [InferInput("images", [1], "BYTES", [text])]), model_name=model
        ),
    }
    return {
        "live": [await v1.is_server_live(url), await v2.is_server_live(url)],
        "ready": await v2.is_server_ready(url),
        "model ready": [await each.is_model_ready(url, model) for each in (v1, v2)],
        "other ready": await v2.is_model_ready(url, "dogs"),
        "v1": [await v1.infer(url, sent, model_name=model) for sent in ({"instances": [{"b64": text}]}, body)],
        "v2": {
            name: {output.name: output.as_numpy().astype(str).ravel().tolist() for output in answer.outputs}
            for name, answer in answers.items()
        },
    }


print(json.dumps(asyncio.run(main())))
