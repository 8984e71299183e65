"""What the fuzzer starts from: a small image of each format, and each form of a request."""

import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator

from fuzz.harness import FORM, HEADERS, JSON, RAW
from PIL import Image

from bench.costly import flat, with_chunks, with_extensions, with_scans, with_segments


def seeds() -> Iterator[bytes]:
    images = list(_images())
    for image in images:
        yield bytes([RAW]) + image
    text = base64.b64encode(images[0]).decode()
    for body in (
        {"image": text, "threshold": {"tabby": 0.3}, "top_k": 2},
        {"images": [text, {"b64": text}], "all_scores": True},
        [text, f"data:image/png;base64,{text}"],
        {"instances": [{"b64": text}, {"image_bytes": {"b64": text}}]},
        {"id": "1", "inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [text]}], "parameters": {}},
    ):
        yield bytes([JSON]) + json.dumps(body).encode()
    # Its separator is in every whole image.
    yield bytes([FORM]) + b"\0\0\0".join([b"data", images[0][:8], b"threshold", b"0.5", b"file[1]", images[1][:8]])
    yield bytes([HEADERS]) + b'Content-Type:application/json\n\n{"image"'
    yield bytes([HEADERS]) + b'X-Threshold:{"tabby": 1e-3}\nX-Top-K:3\nContent-Type:image/png\n\n' + images[0]
    yield bytes([HEADERS]) + b"Content-Encoding:gzip\n\n" + gzip.compress(images[0], mtime=0)
    yield bytes([HEADERS]) + b"Content-Encoding:deflate\n\n" + zlib.compress(images[1])
    field = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n'
    form = b"".join(field % pair for pair in ((b"data", images[0]), (b"data", images[1]), (b"top_k", b"1")))
    yield bytes([HEADERS]) + b"Content-Type:multipart/form-data; boundary=b\n\n" + form + b"--b--\r\n"
    element = len(images[0]).to_bytes(4, "little") + images[0]
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    outputs = [{"name": "scores", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    yield bytes([HEADERS]) + b"X-Protocol:v2\nInference-Header-Content-Length:%d\n\n" % len(head) + head + element
    nested = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [[text]]}]}
    yield bytes([HEADERS]) + b"X-Protocol:v2\n\n" + json.dumps(nested).encode()
    yield bytes([HEADERS]) + b"X-Protocol:v1\n\n" + json.dumps({"instances": [text]}).encode()


def _images() -> Iterator[bytes]:
    size = (24, 16)
    picture = Image.effect_mandelbrot(size, (-2, -1, 1, 1), 20)
    for kind, mode, options in (
        ("PNG", "L", {}),
        ("JPEG", "RGB", {"quality": 30}),
        ("JPEG", "CMYK", {"quality": 30, "progressive": True}),
        ("PNG", "P", {"transparency": 0}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "1", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
    ):
        file = io.BytesIO()
        picture.convert(mode).save(file, kind, **options)
        yield file.getvalue()
    yield flat("RGB", "JPEG", size, orientation=6)
    yield flat("I;16", "PNG", size)
    yield from (with_scans(12, size), with_segments(3), with_chunks(3), with_extensions(3))
