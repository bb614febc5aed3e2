"""Tables as files, whole and with their units."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import WhyError
from napari_why.measurement import measure, write_table


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_comes_back_as_it_was(squares, tmp_path, ending):
    found = measure(squares, threshold="fixed", level=50)
    path = write_table(found.table, tmp_path / f"regions{ending}", record=found.record)
    back = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(back, found.table, check_dtype=False)
    if ending == ".parquet":
        assert back.attrs["units"] == found.table.attrs["units"]
    record = json.loads((tmp_path / "regions.json").read_text())
    assert record["parameters"]["level"] == 50
    assert record["details"]["counterfactual"]["source"] == "field.tif"
    assert {path.name for path in tmp_path.iterdir()} == {f"regions{ending}", "regions.json"}


def test_numbers_keep_their_digits_in_csv(tmp_path):
    table = pd.DataFrame({"x": [np.pi, 1e-300, 123456789.123456789]})
    back = pd.read_csv(write_table(table, tmp_path / "x.csv"))
    assert back["x"].tolist() == table["x"].tolist()


def test_what_cannot_be_written_is_said_and_nothing_is_left(tmp_path):
    table = pd.DataFrame({"x": [1, "a"]})
    with pytest.raises(WhyError, match=r"expected \.csv or \.parquet"):
        write_table(table, tmp_path / "x.doc")
    with pytest.raises(WhyError, match="column of mixed types"):
        write_table(table, tmp_path / "x.parquet")
    with pytest.raises(WhyError, match="cannot be written"):
        write_table(table, tmp_path / "none" / "x.csv")
    assert list(tmp_path.iterdir()) == []
