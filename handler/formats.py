"""The image formats that are read. Decoding, messages and the model's description all follow this list."""

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
