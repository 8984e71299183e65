import pytest
import requests

from handler.errors import ItemError
from handler.form import read_form


def _sent(files: object, boundary: str | None = None) -> tuple[bytes, str]:
    """As requests writes it."""
    prepared = requests.Request("POST", "http://x/", files=files).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["Content-Type"]


def test_every_field_comes_in_order_also_of_one_name() -> None:
    files = [("images", ("a.jpg", b"\r\n--a\r\n")), ("images", ("b.jpg", b"")), ("top_k", (None, b"3"))]
    assert read_form(*_sent(files), 10) == (("images", b"\r\n--a\r\n"), ("images", b""), ("top_k", b"3"))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'form-data; name="im\\"age"; filename="a; name=b.jpg"', 'im"age'),
        (b"form-data; name=image", "image"),
        (b'form-data; filename="x.jpg"; name="image"', "image"),
        (b'form-data; name="\xc3\xa9"', "é"),
        (b'form-data; name="a\0b"', "a\0b"),
    ],
)
def test_names(disposition: bytes, name: str) -> None:
    body = b"preamble\r\n--B \r\ncontent-DISPOSITION:  " + disposition + b"\r\nX: y\r\n\r\nvalue\r\n--B--\r\nepilogue"
    assert read_form(body, 'multipart/form-data; boundary="B"', 10) == ((name, b"value"),)


PART = b'--B\r\nContent-Disposition: form-data; name="data"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PART + b"--B--", "multipart/form-data"),
        (PART + b"--B--", "multipart/form-data; boundary="),
        (PART + b"--B--", "multipart/form-data; boundary=C"),
        (PART + b"--B--", f"multipart/form-data; boundary={'B' * 201}"),
        (PART, "multipart/form-data; boundary=B"),
        (PART + b"--B", "multipart/form-data; boundary=B"),
        (b"--B\r\n\r\nx\r\n--B--", "multipart/form-data; boundary=B"),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", "multipart/form-data; boundary=B"),
        (b"--B\r\nX: " + b"y" * 2000 + PART[3:] + b"--B--", "multipart/form-data; boundary=B"),
        (PART * 11 + b"--B--", "multipart/form-data; boundary=B"),
        (b"\r\n--" * 4_000_000, "multipart/form-data; boundary=B"),
        (b"\r" * 16_000_000, "multipart/form-data; boundary=B"),
        (b"--B\r\n" + b'Content-Disposition: form-data; name="' * 400_000, "multipart/form-data; boundary=B"),
    ],
)
def test_what_can_not_be_read(body: bytes, content_type: str) -> None:
    with pytest.raises(ItemError) as raised:
        read_form(body, content_type, 10)
    assert 400 <= raised.value.status < 500
