"""A result that could not be saved is refused before the work begins."""

from pathlib import Path

import pytest

from napari_why.cli.places import check_place
from napari_why.core.errors import WhyError


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
