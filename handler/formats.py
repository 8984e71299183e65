"""The image formats that are read. Decoding, messages and the model's description all follow this list.

Phones also send HEIC and AVIF, which are known by name and not read: docs/decisions/0034-no-heic-no-avif.md says why.
"""

import re

# By Pillow's name of a format: its usual spelling, and a regular expression for how its files begin.
FORMATS = {
    "JPEG": ("JPEG", rb"\xff\xd8\xff"),
    "PNG": ("PNG", rb"\x89PNG\r\n\x1a\n"),
    "WEBP": ("WebP", rb"RIFF....WEBP"),
    "GIF": ("GIF", rb"GIF8[79]a"),
    "BMP": ("BMP", rb"BM"),
    "TIFF": ("TIFF", rb"II\x2a\0|MM\0\x2a|II\x2b\0|MM\0\x2b"),
}
# A file that begins so but can't be opened is corrupt; any other is no image.
SIGNATURES = re.compile(b"|".join(signature for _, signature in FORMATS.values()), re.S)
*_FIRST, _LAST = (spelling for spelling, _ in FORMATS.values())
SPELLED = f"{', '.join(_FIRST)} or {_LAST}"

# HEIF's and AVIF's brands, in the first box of the file (ISO/IEC 14496-12, 4.3; 23008-12, B.4; AVIF, 8).
FIRST_BOX = re.compile(rb".{4}ftyp(.{4})", re.S)
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
}
GENERAL = (b"mif1", b"msf1")  # of either: the brands that follow tell which


def unread_format(content: bytes) -> str | None:
    """HEIC or AVIF where the bytes are such a file, or HEIF where it does not say which."""
    box = FIRST_BOX.match(content)
    if box is None:
        return None
    length = int.from_bytes(content[:4], "big")
    others = [content[place : place + 4] for place in range(16, min(length, 256), 4)]
    brands = [brand for brand in (box[1], *others) if brand in BRANDS]
    if box[1] in GENERAL:
        return BRANDS[brands[0]] if brands else "HEIF"
    return BRANDS.get(box[1])
