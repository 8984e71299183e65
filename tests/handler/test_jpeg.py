from io import BytesIO

import pytest
from PIL import Image
from samples import CHELSEA, chelsea, encode, noise

from bench.costly import with_scans, with_segments
from handler.errors import TooCostly, UnsupportedImage
from handler.jpeg import MAX_SCANS, MAX_SEGMENTS, Scans, read_scans


def test_real_encoders_write_few_scans() -> None:
    assert read_scans(chelsea()) == Scans(1, buffered=False)
    assert read_scans(chelsea(progressive=True)) == Scans(10, buffered=True)
    cmyk = Image.open(BytesIO(CHELSEA)).convert("CMYK")
    assert read_scans(encode(cmyk, "JPEG")) == Scans(1, buffered=False)
    assert read_scans(encode(cmyk, "JPEG", progressive=True)) == Scans(18, buffered=True)


def test_a_decoder_keeps_an_image_that_comes_in_parts() -> None:
    """Also where only one of the parts is there: it waits for the others."""
    progressive = chelsea(progressive=True)
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    assert read_scans(progressive[:second]) == Scans(1, buffered=True)
    plain = chelsea()
    scan = plain.index(b"\xff\xda")
    alone = plain[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + plain[scan + 14 :]
    assert read_scans(alone) == Scans(1, buffered=True)


def test_arithmetic_coding_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="arithmetic coding"):
        read_scans(chelsea().replace(b"\xff\xc0\x00\x11", b"\xff\xc9\x00\x11", 1))


def test_no_scan_hides_behind_the_length_of_another_marker() -> None:
    """libjpeg passes over a marker that it doesn't know, and not over what a length in it would say."""
    plain = chelsea()
    hiding = plain[:-2] + (b"\xff\x02\xff\xf0" + plain[plain.index(b"\xff\xda") : -2]) * MAX_SCANS + plain[-2:]
    with pytest.raises(TooCostly):
        read_scans(hiding)


@pytest.mark.parametrize("end", [b"", b"\x00", b"\xd0"])
def test_a_run_of_fill_bytes_takes_no_longer_than_others(end: bytes) -> None:
    """A photo that was cut off on erased memory ends so. A pattern that goes back over the run would never end."""
    assert read_scans(chelsea()[:9000] + b"\xff" * 10**7 + end) == Scans(1)


def test_only_scans_of_the_image_itself_count() -> None:
    """Not those of its thumbnail, nor of what stands behind it, as the film of a live photo does."""
    thumbnail = encode(noise(60, 80), "JPEG", progressive=True)
    exif = b"Exif\0\0II\x2a\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    assert read_scans(chelsea(exif=exif) + b"\xff\xda" * 1000).count == 1


def test_the_limit_is_inclusive() -> None:
    assert read_scans(with_scans(MAX_SCANS, (64, 64))).count == MAX_SCANS
    with pytest.raises(TooCostly, match=f"The JPEG has more than {MAX_SCANS} scans"):
        read_scans(with_scans(MAX_SCANS + 1, (64, 64)))


def test_segments_are_bounded() -> None:
    with pytest.raises(TooCostly, match=f"The JPEG has more than {MAX_SEGMENTS} segments"):
        read_scans(with_segments(MAX_SEGMENTS))
    assert read_scans(with_segments(MAX_SEGMENTS - 100)).count == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe0\0\0" * 9])
def test_what_is_cut_off_has_no_scans(content: bytes) -> None:
    assert read_scans(content) == Scans()
