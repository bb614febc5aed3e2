"""A latent space as a file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import WhyError
from napari_why.datasets import Dataset, Unreadable
from napari_why.latent_space import LatentSpace, embed


def test_a_saved_space_is_the_same_when_loaded(space, tmp_path):
    told = replace(space, unreadable=(Unreadable("a.tif", "a text file"),), complete=False)
    loaded = LatentSpace.load(told.save(tmp_path / "space.parquet"))
    pd.testing.assert_frame_equal(loaded.table, told.table, check_dtype=False)
    np.testing.assert_array_equal(loaded.latents, told.latents)
    assert loaded.classes == told.classes
    assert loaded.group_columns == told.group_columns
    assert loaded.record == told.record
    assert loaded.unreadable == told.unreadable
    assert not loaded.complete


def test_columns_of_mixed_types_are_written_as_text(drawn, tmp_path):
    space = drawn(count=20, wells=4)
    mixed = replace(space, table=space.table.assign(dose=["high", 3] * 10))
    loaded = LatentSpace.load(mixed.save(tmp_path / "space.parquet"))
    assert list(loaded.table["dose"][:2]) == ["high", "3"]


def test_a_file_is_not_replaced_unasked(drawn, tmp_path):
    space = drawn(count=20, wells=4)
    path = space.save(tmp_path / "space.parquet")
    with pytest.raises(WhyError, match="choose another name"):
        space.save(path)
    space.save(path, overwrite=True)


def test_other_files_are_refused_in_words(tmp_path):
    text = tmp_path / "a.parquet"
    text.write_text("no parquet")
    with pytest.raises(WhyError, match="no readable Parquet file"):
        LatentSpace.load(text)
    table = tmp_path / "b.parquet"
    pd.DataFrame({"x": [1]}).to_parquet(table)
    with pytest.raises(WhyError, match="another kind of table"):
        LatentSpace.load(table)


def test_a_folder_that_is_not_there_is_told(drawn, tmp_path):
    with pytest.raises(WhyError, match="cannot be written"):
        drawn(count=20, wells=4).save(tmp_path / "nowhere" / "space.parquet")


def test_images_unlike_the_training_images_are_marked(classifier, dataset) -> None:
    images = [dataset.image(row) for row in range(4)]
    images[2] = images[2].copy(data=np.full_like(images[2].values, 500))
    found = embed(classifier, Dataset.from_images(images, ["a", "b"] * 2)).table["unlike"]
    assert "channel DAPI is 500 everywhere" in found[2]
    assert [bool(said) for said in found] == [False, False, True, False]
