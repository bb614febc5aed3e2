"""What the shell is told of an image."""

import pytest

from napari_why.cli.arguments import names_in
from napari_why.cli.input_images import told


@pytest.mark.parametrize("text", ["DAPI,TMRM", " DAPI , TMRM ,", ",DAPI,,TMRM"])
def test_names_stand_between_commas_and_none_is_empty(text: str) -> None:
    assert names_in(text) == ["DAPI", "TMRM"]
    assert told(None, text) == {"channels": ["DAPI", "TMRM"]}


@pytest.mark.parametrize("text", [None, "", " ,"])
def test_no_names_are_not_told(text: str | None) -> None:
    assert told("zyx", text) == {"axes": "zyx"}
