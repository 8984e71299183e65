import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from samples import CHELSEA, PHOTOS, encode, noise

from bench.costly import flat, with_scans
from handler.decode import decode
from handler.errors import CorruptImage, ItemError, TooCostly, TooManyPixels, UnsupportedImage, attempt
from handler.settings import Limits

LIMITS = Limits()
ORIENTATION = 0x0112


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG"])
def test_formats_give_upright_rgb(kind: str) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, :30] = (250, 10, 10)
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(pixels, kind, **options), LIMITS)
    assert decoded.shape == (40, 60, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - pixels)[:, 5:25].max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_honoured(orientation: int, kind: str) -> None:
    corners = np.zeros((32, 64, 3), dtype=np.uint8)
    corners[:16, :32], corners[:16, 32:], corners[16:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    payload = encode(corners, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(payload))).convert("RGB"))
    decoded = decode(payload, LIMITS)
    assert np.array_equal(decoded, expected)
    assert decoded.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))


def test_photo_of_a_turned_camera() -> None:
    """Orientation 6: the camera stood on its right side, so the stored top is the scene's right."""
    stored = np.zeros((32, 64, 3), dtype=np.uint8)
    stored[:16] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = decode(encode(stored, exif=exif), LIMITS)
    assert upright.shape == (64, 32, 3)
    assert upright[:, 16:].min() == 255
    assert upright[:, :16].max() == 0


def test_a_broken_exif_block_does_not_hide_the_picture() -> None:
    payload = encode(noise(), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert decode(payload, LIMITS).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_of_many_values_is_not_read(kind: str) -> None:
    """A million of them would take seconds, and hundreds of megabytes."""
    many = struct.pack("<HHII", ORIENTATION, 5, 40_000, 26)
    exif = b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0" + many + bytes(4 + 8 * 40_000)
    if kind == "JPEG":  # in segments, which Pillow puts together
        parts = [exif[:6] + exif[6:][start : start + 65_000] for start in range(0, len(exif) - 6, 65_000)]
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
        plain = encode(noise(), "JPEG")
        payload = plain[:2] + segments + plain[2:]
    else:
        payload = encode(noise(), kind, exif=exif)
    assert _code(payload) == "too_costly"


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[:, :4] = (200, 0, 0, 255)
    rgba[:, 4:] = (0, 200, 0, 0)  # a colour that nobody sees
    decoded = decode(encode(Image.fromarray(rgba)), LIMITS)
    assert (decoded[0, 0] == (200, 0, 0)).all()
    assert (decoded[0, 7] == 255).all()


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    decoded = decode(encode(image, transparency=0), LIMITS)
    assert (decoded[0, 0] == 255).all()
    assert (decoded[3, 3] == (0, 0, 255)).all()


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 77, 77), ("1", 1, 255), ("LA", (90, 255), 90)])
def test_grey_modes(mode: str, value: int | tuple[int, int], expected: int) -> None:
    assert (decode(encode(Image.new(mode, (4, 4), value)), LIMITS) == expected).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.array([[0, 257, 0x8080, 0xFFFF]], dtype=np.uint16)
    decoded = decode(encode(Image.fromarray(ramp), kind), LIMITS)
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_big_endian_tiff() -> None:
    """Written by hand: Pillow writes little-endian ones only."""
    entries = [(256, 3, 1, 2 << 16), (257, 3, 1, 1 << 16), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16)]
    entries += [(262, 3, 1, 1 << 16), (273, 4, 1, 8 + 2 + 9 * 12 + 4), (277, 3, 1, 1 << 16)]
    entries += [(278, 3, 1, 1 << 16), (279, 4, 1, 4)]
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    payload = b"MM\0\x2a" + struct.pack(">I", 8) + directory + struct.pack(">I", 0) + bytes([0x80, 0x01, 0x02, 0xFF])
    assert decode(payload, LIMITS)[0, :, 0].tolist() == [0x80, 0x02]


def test_sixteen_bit_colour() -> None:
    pixels = np.full((4, 4, 3), (0x1234, 0x8080, 0xFFFF), dtype=np.uint16)
    _, encoded = cv2.imencode(".png", pixels[:, :, ::-1])
    assert np.abs(decode(encoded.tobytes(), LIMITS)[0, 0].astype(int) - (0x12, 0x80, 0xFF)).max() <= 1


def test_cmyk_is_not_inverted() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = decode(encode(cyan, "JPEG", quality=95), LIMITS)[8, 8].tolist()
    assert red < 30
    assert min(green, blue) > 220


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    payload = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(payload, LIMITS)[0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_samples_without_a_fixed_white_are_refused(mode: str) -> None:
    assert _code(encode(Image.new(mode, (8, 8)), "TIFF")) == "unsupported_image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files(kind: str, kept: float) -> None:
    whole = encode(noise(200, 300), kind)
    assert _code(whole[: int(len(whole) * kept)]) == "corrupt_image"


def test_corrupt_inside() -> None:
    whole = bytearray((PHOTOS / "chelsea.png").read_bytes())
    whole[5000:9000] = bytes(4000)
    assert _code(bytes(whole)) == "corrupt_image"


@pytest.mark.parametrize("payload", [b"hello", b"%PDF-1.7 ...", b"<svg/>", b"\0" * 100, b"GIF", b"RIFF"])
def test_other_files_are_no_image(payload: bytes) -> None:
    assert _code(payload) == "not_an_image"


def test_other_image_formats_are_not_opened() -> None:
    """Pillow could read this one; each further decoder is one more way in."""
    assert _code(encode(noise(), "PPM")) == "not_an_image"


def _box(brand: bytes, *others: bytes) -> bytes:
    """How a file of a phone begins."""
    content = brand + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(content)) + b"ftyp" + content + bytes(100)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (encode(noise(), "AVIF"), "AVIF"),
        (_box(b"heic", b"mif1", b"heic"), "HEIC"),
        (_box(b"mif1", b"mif1", b"heic"), "HEIC"),
        (_box(b"mif1", b"mif1", b"avif", b"miaf"), "AVIF"),
        (_box(b"avis", b"msf1"), "AVIF"),
        (_box(b"msf1"), "HEIF"),
    ],
)
def test_formats_of_phones_are_named(payload: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"^{name} is not supported. Send the photo as a JPEG.$"):
        decode(payload, LIMITS)


@pytest.mark.parametrize("payload", [_box(b"isom", b"avc1", b"heic"), b"\xff\xff\xff\xffftyp", b"\0\0\0\x14ftypmp42"])
def test_films_are_no_image(payload: bytes) -> None:
    assert _code(payload) == "not_an_image"


def _png_header(width: int, height: int) -> bytes:
    """A PNG that ends after its header, so that pixels can't be what is looked at."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("size", [(8000, 8000), (20_000, 20_000), (65_000, 65_000)])
def test_pixel_limit_is_decided_from_the_header(size: tuple[int, int]) -> None:
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    assert _code(_png_header(*size) + idat) == "too_many_pixels"


def test_pixel_limit_is_inclusive() -> None:
    limits = Limits(max_pixels=2400)
    assert decode(encode(noise(40, 60)), limits).shape == (40, 60, 3)
    assert _code(encode(noise(41, 60)), limits) == "too_many_pixels"


@pytest.mark.parametrize(
    ("mode", "kind", "spelled"),
    [("RGBA", "WEBP", "WebP"), ("P", "PNG", "PNG"), ("1", "TIFF", "TIFF"), ("RGB", "BMP", "BMP"), ("L", "GIF", "GIF")],
)
def test_only_a_jpeg_may_have_the_most_pixels(mode: str, kind: str, spelled: str) -> None:
    """Other formats take many times its memory and time, also in a file of a few bytes."""
    options = {"lossless": True} if kind == "WEBP" else {}
    limits = Limits(max_pixels=4_000_000, max_pixels_other=1_000_000)
    with pytest.raises(TooManyPixels) as caught:
        decode(flat(mode, kind, (1001, 1000), **options), limits)
    assert str(caught.value) == (f"The {spelled} is 1001 x 1000, more than 1000000 pixels. A JPEG may have 4000000.")
    assert decode(flat(mode, kind, (1000, 1000), **options), limits).shape == (1000, 1000, 3)
    assert decode(flat("RGB", "JPEG", (2000, 2000)), limits).shape == (2000, 2000, 3)


def test_a_jpeg_of_many_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _code(with_scans(1000, (64, 64))) == "too_costly"
    monkeypatch.setattr("handler.jpeg.MAX_SCANNED", 20 * 64 * 64)
    assert decode(with_scans(20, (64, 64)), LIMITS).shape == (64, 64, 3)
    with pytest.raises(TooCostly, match="The JPEG is 64 x 64 and has 21 scans, more than 20 for this size"):
        decode(with_scans(21, (64, 64)), LIMITS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "CMYK"])
def test_strips_give_the_same_pixels(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(noise(37, 23))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(noise(37, 23)[:, :, 0]))
    image = image.convert(mode)
    payload = encode(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    whole = decode(payload, LIMITS)
    monkeypatch.setattr("handler.decode.STRIP", 5 * 23 + 1)
    assert np.array_equal(decode(payload, LIMITS), whole)


def test_byte_limit() -> None:
    payload = encode(noise())
    assert _code(payload, Limits(max_image_bytes=len(payload) - 1)) == "too_many_bytes"
    decode(payload, Limits(max_image_bytes=len(payload)))


def test_a_strip_is_refused_before_resizing_fills_the_memory() -> None:
    assert _code(encode(noise(1, 21))) == "extreme_aspect_ratio"
    assert decode(encode(noise(1, 20)), LIMITS).shape == (1, 20, 3)


@settings(max_examples=300)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"]), st.data())
def test_mutated_files_give_pixels_or_an_item_error(kind: str, data: st.DataObject) -> None:
    payload = bytearray(encode(noise(24, 24), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    outcome = attempt(lambda payload: decode(payload, LIMITS), bytes(payload))
    assert 400 <= outcome.status < 500 if isinstance(outcome, ItemError) else outcome.ndim == 3


def _code(payload: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(ItemError) as caught:
        decode(payload, limits)
    return caught.value.code


@pytest.mark.parametrize(
    ("size", "shortest_side", "expected"),
    [
        ((1600, 1200), 64, (200, 150)),  # an eighth: 150 are more than 1.75 times 64
        ((1600, 1200), 85, (200, 150)),
        ((1600, 1200), 86, (400, 300)),
        ((1600, 1200), 342, (800, 600)),
        ((1600, 1200), 343, (1600, 1200)),
        ((300, 200), 256, (300, 200)),  # nothing is enlarged
    ],
)
def test_a_jpeg_is_decoded_as_small_as_the_pipeline_allows(
    size: tuple[int, int], shortest_side: int, expected: tuple[int, int]
) -> None:
    payload = encode(Image.open(BytesIO(CHELSEA)).resize(size), "JPEG")
    pixels = decode(payload, LIMITS, shortest_side)
    assert pixels.shape == (*expected[::-1], 3)
    whole = cv2.resize(decode(payload, LIMITS), expected, interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - whole).mean() < 3


def test_scaled_decoding_keeps_the_guards_and_the_orientation() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    payload = encode(Image.open(BytesIO(CHELSEA)).resize((1600, 1200)), "JPEG", exif=exif)
    assert decode(payload, LIMITS, 64).shape == (200, 150, 3)
    with pytest.raises(TooManyPixels):
        decode(payload, Limits(max_pixels=1_000_000), 64)
    with pytest.raises(CorruptImage):
        decode(payload[:20_000], LIMITS, 64)


def test_other_formats_are_decoded_whole() -> None:
    pixels = noise(200, 300)
    assert np.array_equal(decode(encode(pixels), LIMITS, 16), pixels)
