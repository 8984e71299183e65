"""The tags of a TIFF's first image, looked at before Pillow makes Python objects of their values (TIFF 6.0, 2)."""

import struct

from handler.errors import TooCostly

# A tag for each of that many strips or tiles is plenty. Values of one byte, such as a profile's, are read as a whole.
MAX_VALUES = 65_536
ONE_BYTE = {1, 2, 6, 7}  # the types of such values
HEADS = {
    # How the file begins: where the first image's tags are, and the form of their number and of each.
    b"II\x2a\0": ("<4xI", "<H", "<HHI4x"),
    b"MM\0\x2a": (">4xI", ">H", ">HHI4x"),
    b"II\x2b\0": ("<8xQ", "<Q", "<HHQ8x"),
    b"MM\0\x2b": (">8xQ", ">Q", ">HHQ8x"),
}


def check_tags(content: bytes) -> None:
    """Raises TooCostly for a tag of more values than an image has use for. What can't be read is left to Pillow."""
    if (forms := HEADS.get(content[:4])) is None:
        return
    head, number, tag = forms
    try:
        [place] = struct.unpack_from(head, content)
        [tags] = struct.unpack_from(number, content, place)
        place += struct.calcsize(number)
        for _ in range(min(tags, MAX_VALUES)):
            name, kind, values = struct.unpack_from(tag, content, place)
            if kind not in ONE_BYTE and values > MAX_VALUES:
                raise TooCostly(f"The TIFF has a tag, {name}, of {values} values, more than {MAX_VALUES}.")
            place += struct.calcsize(tag)
    except (struct.error, OverflowError):  # an offset may have 64 bits
        return
