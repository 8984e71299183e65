import argparse

import pytest

from scripts.arguments import whole


@pytest.mark.parametrize("text", ["0", "1025", "-1", "1.5", "many", ""])
def test_what_is_no_number_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text!r}, expected a whole number from 1 to 1024"):
        whole(1, 1024)(text)


def test_the_bounds_are_in_it_and_the_upper_one_is_optional() -> None:
    assert [whole(1, 1024)(text) for text in ("1", "1024")] == [1, 1024]
    assert whole(2)("99999") == 99999
    with pytest.raises(argparse.ArgumentTypeError, match=r"'1', expected a whole number from 2$"):
        whole(2)("1")
