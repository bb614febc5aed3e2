"""Which columns are colours and which are a scale."""

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import ParameterError
from napari_why.latent_space import colouring_of, columns_to_colour
from napari_why.latent_space.files import MISSING_COLOUR, PALETTE


def test_words_and_few_whole_numbers_are_categories():
    table = pd.DataFrame(
        {"line": ["b", "a", "b"], "plate": [10, 9, 10], "dead": [True, False, True]}
    )
    line = colouring_of(table, "line")
    assert (line.names, line.codes.tolist()) == (("a", "b"), [1, 0, 1])
    assert colouring_of(table, "plate").names == ("9", "10"), "as numbers, not as text"
    assert colouring_of(table, "dead").names == ("no", "yes")


def test_other_numbers_are_a_scale():
    table = pd.DataFrame({"dose": [0.5, 1.25, np.nan], "field": range(3)})
    assert colouring_of(table, "dose").continuous
    np.testing.assert_array_equal(colouring_of(table, "dose").values, [0.5, 1.25, np.nan])
    many = pd.DataFrame({"field": range(40)})
    assert colouring_of(many, "field").continuous


def test_missing_values_are_a_grey_category():
    coloured = colouring_of(pd.DataFrame({"drug": ["x", None, "y"]}), "drug")
    assert coloured.names == ("x", "y", "missing")
    assert coloured.colour(2) == MISSING_COLOUR


def test_marks_tell_categories_apart_once_the_colours_are_used_up():
    wells = colouring_of(pd.DataFrame({"well": [f"W{number:02d}" for number in range(30)]}), "well")
    looks = {(wells.colour(code), wells.marker(code)) for code in range(30)}
    assert len(looks) == 30
    assert wells.colour(0) == wells.colour(len(PALETTE))


def test_number_and_path_of_an_image_are_no_property_of_it():
    table = pd.DataFrame({"image": [0], "path": ["a.tif"], "class": ["x"]})
    assert columns_to_colour(table) == ["class"]
    with pytest.raises(ParameterError, match="found 'dose'; expected one of class"):
        colouring_of(table, "dose")


def test_the_former_name_of_a_column_is_understood():
    table = pd.DataFrame({"outlier": [True, False], "class": ["x", "y"]})
    assert colouring_of(table, "irregular").names == ("no", "yes")
