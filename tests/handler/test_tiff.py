import struct

import pytest
from samples import CHELSEA, chelsea, encode, noise

from handler.decode import decode
from handler.errors import TooCostly, TooManyPixels
from handler.settings import Limits
from handler.tiff import MAX_VALUES, check_tags


def _tiff(order: str, big: bool, *tags: tuple[int, int, int]) -> bytes:
    """With so many tags: (name, type, number of values)."""
    head = struct.pack(f"{order}2sHHHQ", (order == "<" and b"II") or b"MM", 43, 8, 0, 16)
    if big:
        return head + struct.pack(f"{order}Q", len(tags)) + b"".join(struct.pack(f"{order}HHQ8x", *tag) for tag in tags)
    head = struct.pack(f"{order}2sHI", (order == "<" and b"II") or b"MM", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + b"".join(struct.pack(f"{order}HHI4x", *tag) for tag in tags)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tag_of_too_many_values_is_refused(order: str, big: bool) -> None:
    width, offsets, profile = (256, 4, 1), (273, 4, MAX_VALUES), (34675, 7, 10**6)
    check_tags(_tiff(order, big, width, offsets, profile))
    with pytest.raises(TooCostly, match=f"a tag, 282, of {MAX_VALUES + 1} values, more than {MAX_VALUES}"):
        check_tags(_tiff(order, big, width, profile, (282, 5, MAX_VALUES + 1)))


@pytest.mark.parametrize(
    "content", [b"", b"II", b"II\x2a\0", b"II\x2a\0\xff\xff\xff\xff", b"II\x2b\0" + b"\xff" * 12, CHELSEA, chelsea()]
)
def test_what_has_no_tags_is_left_to_pillow(content: bytes) -> None:
    check_tags(content)


def test_a_tile_that_is_larger_than_its_image_counts() -> None:
    tiled = encode(noise(16, 16), "TIFF")
    # In place of strips: the tags for a tile's width, height, offset and bytes.
    for strips, tiles, value in ((278, 322, 4112), (284, 323, 4112), (273, 324, None), (279, 325, None)):
        place = tiled.index(struct.pack("<H", strips), 8)
        changed = struct.pack("<H", tiles) + tiled[place + 2 : place + 8]
        changed += tiled[place + 8 : place + 12] if value is None else struct.pack("<I", value)
        tiled = tiled[:place] + changed + tiled[place + 12 :]
    with pytest.raises(TooManyPixels, match="A tile of the TIFF is 4112 x 4112, more than 16000000 pixels"):
        decode(tiled, Limits(max_pixels_other=16_000_000))
