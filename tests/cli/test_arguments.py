"""What the shell is told of an image; a result that could not be saved is refused at once."""

from pathlib import Path

import pytest

from napari_why.cli.arguments import check_place, make_read_arguments, split_names
from napari_why.core.errors import WhyError


@pytest.mark.parametrize("text", ["DAPI,TMRM", " DAPI , TMRM ,", ",DAPI,,TMRM"])
def test_names_stand_between_commas_and_none_is_empty(text: str) -> None:
    assert split_names(text) == ["DAPI", "TMRM"]
    assert make_read_arguments(None, text) == {"channels": ["DAPI", "TMRM"]}


@pytest.mark.parametrize("text", [None, "", " ,"])
def test_no_names_are_not_told(text: str | None) -> None:
    assert make_read_arguments("zyx", text) == {"axes": "zyx"}


def test_a_new_name_in_a_folder_is_fine(tmp_path: Path) -> None:
    check_place(tmp_path / "a.ome.tif", overwrite=False, endings=(".ome.tif",))


def test_what_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    there = tmp_path / "a.tif"
    there.touch()
    with pytest.raises(WhyError, match="--overwrite"):
        check_place(there, overwrite=False)
    check_place(there, overwrite=True)


def test_a_missing_folder_and_another_ending_are_named(tmp_path: Path) -> None:
    with pytest.raises(WhyError, match="no such folder"):
        check_place(tmp_path / "missing" / "a.tif", overwrite=False)
    with pytest.raises(WhyError, match=r"a\.png: expected a name that ends in \.tif"):
        check_place(tmp_path / "a.png", overwrite=False, endings=(".tif",))
