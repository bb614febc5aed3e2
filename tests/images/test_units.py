import pytest

from napari_why.images.formats import to_micrometres


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "um", 0.5),
        (0.5, "\u00b5m", 0.5),
        (0.5, "\u03bcm", 0.5),
        (0.5, "\\u00B5m", 0.5),
        (0.5, " Micron ", 0.5),
        (650, "nm", 0.65),
        (0.000065, "cm", 0.65),
        (0.00065, "mm", 0.65),
        (1, "inch", 25400.0),
        (1, "pixel", None),
        (1, "", None),
        (0, "um", None),
        (-1, "um", None),
        (float("nan"), "um", None),
        (float("inf"), "um", None),
    ],
)
def test_lengths_become_micrometres(value, unit, expected) -> None:
    assert to_micrometres(value, unit) == expected
