"""What tritonclient gets of a server, as JSON: run in an environment of its own by tests/live/test_clients.py."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton

url, model, photo = sys.argv[1:]
image = Path(photo).read_bytes()


def _input(content: bytes, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput("images", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=object), binary_data=binary)
    return tensor


def _refused(*arguments: object, **options: object) -> str:
    try:
        client.infer(*arguments, **options)
    except triton.InferenceServerException as error:
        return str(error)
    return "not refused"


client = triton.InferenceServerClient(url)
raw, text = _input(image, binary=True), _input(base64.b64encode(image), binary=False)
asked = [triton.InferRequestedOutput("labels", binary_data=False), triton.InferRequestedOutput("fired")]
answers = {
    "binary": client.infer(model, [raw], request_id="7"),
    "json": client.infer(model, [text]),
    "version": client.infer(model, [raw], model_version="1.0"),
    "options": client.infer(model, [raw], parameters={"threshold": "0.99"}, timeout=10_000_000, priority=1),
    "outputs": client.infer(model, [raw], outputs=asked),
    "gzip": client.infer(model, [text], request_compression_algorithm="gzip"),
    "deflate": client.infer(model, [raw], request_compression_algorithm="deflate"),
    "answer as gzip": client.infer(model, [raw], response_compression_algorithm="gzip"),
    "asynchronous": client.async_infer(model, [raw]).get_result(),
}
said = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": [client.is_model_ready(model), client.is_model_ready(model, "1.0"), client.is_model_ready("dogs")],
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata(model),
    "version": client.get_model_metadata(model, "1.0"),
    "answers": {
        name: {
            output["name"]: np.array(answer.as_numpy(output["name"])).astype(str).ravel().tolist()
            for output in answer.get_response()["outputs"]
        }
        for name, answer in answers.items()
    },
    "id": answers["binary"].get_response()["id"],
    "refused": {
        "model": _refused("dogs", [raw]),
        "version": _refused(model, [raw], model_version="9"),
        "output": _refused(model, [raw], outputs=[triton.InferRequestedOutput("nope")]),
        "image": _refused(model, [_input(b"words", binary=True)]),
        "option": _refused(model, [raw], parameters={"top_k": 99}),
    },
}
print(json.dumps(said))
