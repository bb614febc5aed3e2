"""Other programs read what a screen writes: pycytominer, copairs, AnnData, and tables of an OME-Zarr plate."""

import json
import shutil
from dataclasses import replace

import copairs.map
import numpy as np
import pandas as pd
import pycytominer
import pytest
import zarr

from napari_why.core.errors import WhyError
from napari_why.screening import to_anndata, write_plate_tables


@pytest.fixture(scope="module")
def found(whole, tmp_path_factory):
    """A screen whose folder other programs may write to."""
    out = tmp_path_factory.mktemp("readers") / "out"
    return replace(whole, folder=shutil.copytree(whole.folder, out))


@pytest.fixture
def plate(tmp_path):
    """An OME-Zarr plate without images: what a table needs of it."""
    place = tmp_path / "P1.ome.zarr"
    group = zarr.open_group(place, mode="w", zarr_format=2)
    group.attrs["plate"] = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": []}
    return place


def test_pycytominer_normalises_the_wells(found):
    wells = pd.read_parquet(found.folder / "wells.parquet")
    features = [name for name in wells if not name.startswith("Metadata_")]
    # "standardize" takes n for n - 1
    done = pycytominer.normalize(
        str(found.folder / "wells.parquet"),
        features=features,
        samples="Metadata_Role == 'negative control'",
        method="standardize",
    )
    name = "log-odds of healthy"
    control = wells.loc[wells["Metadata_Role"] == "negative control", name]
    expected = (wells[name] - control.mean()) / control.std(ddof=0)
    np.testing.assert_allclose(done[name], expected)
    assert list(done["Metadata_Well"]) == list(wells["Metadata_Well"])


def test_copairs_takes_metadata_and_latents(found):
    wells = pd.read_parquet(found.folder / "wells.parquet")
    wells = wells[wells["Metadata_Role"] != "positive control"].reset_index(drop=True)
    latents = [name for name in wells if name.startswith("latent ")]
    precision = copairs.map.average_precision(
        wells.filter(regex="^Metadata_"),
        wells[latents].to_numpy(),
        pos_sameby=["Metadata_Compound"],
        pos_diffby=[],
        neg_sameby=[],
        neg_diffby=["Metadata_Role"],
        progress_bar=False,
    )
    samples = precision[precision["Metadata_Role"] == "sample"]
    assert samples["average_precision"].between(0, 1).all()
    assert (samples["n_pos_pairs"] == 1).all()  # the compound's well on the other plate


def test_latents_as_anndata_are_those_of_the_wells(found, tmp_path):
    anndata = pytest.importorskip("anndata")
    wells = pd.read_parquet(found.folder / "wells.parquet")
    to_anndata(found.folder).write_h5ad(tmp_path / "latents.h5ad")
    read = anndata.read_h5ad(tmp_path / "latents.h5ad")
    np.testing.assert_array_equal(read.X, wells[list(read.var_names)].to_numpy("float32"))
    assert read.obs_names[0] == f"{wells['Metadata_Plate'][0]} {wells['Metadata_Well'][0]}"
    assert list(read.obs["Metadata_Compound"]) == list(wells["Metadata_Compound"])
    assert json.loads(read.uns["napari_why"])["method"] == "screen"


def test_tables_of_a_plate_stand_beside_its_images(found, plate):
    assert write_plate_tables(found.folder, plate) == ["conditions", "wells"]
    group = zarr.open_group(plate / "tables", mode="r")
    assert list(group.attrs["tables"]) == ["conditions", "wells"]
    attributes = dict(group["conditions"].attrs)
    assert (attributes["type"], attributes["backend"]) == ("condition_table", "parquet")
    assert attributes["record"]["details"]["complete"] is True
    table = pd.read_parquet(plate / "tables" / "wells" / "table.parquet")
    wells = found.analysis.wells[found.analysis.wells["Metadata_Plate"] == "P1"]
    assert list(table[attributes["index_key"]]) == list(wells["Metadata_Well"])
    assert list(table["row"] + table["column"].map("{:02d}".format)) == list(table["well_name"])
    np.testing.assert_array_equal(table["way to healthy"], wells["way to healthy"])
    assert zarr.open_group(plate, mode="r").attrs["plate"]["rows"] == [{"name": "A"}]


def test_tables_of_others_are_not_written_over(found, plate):
    write_plate_tables(found.folder, plate)
    with pytest.raises(WhyError, match="found a table conditions there already"):
        write_plate_tables(found.folder, plate)
    assert write_plate_tables(found.folder, plate, overwrite=True)
    group = zarr.open_group(plate, mode="r+")["tables"]
    assert list(group.attrs["tables"]) == ["conditions", "wells"]
    del group["wells"].attrs["written_by"]
    with pytest.raises(WhyError, match="found a table wells there already"):
        write_plate_tables(found.folder, plate, overwrite=True)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("version", [2, 3])
def test_tables_of_a_plate_whose_metadata_are_consolidated_are_seen(found, tmp_path, version):
    place = tmp_path / "P1.zarr"
    about = {"plate": {"rows": [], "columns": [], "wells": []}}
    zarr.open_group(place, mode="w", zarr_format=version).attrs.update(
        {"ome": about} if version == 3 else about
    )
    zarr.consolidate_metadata(place)
    write_plate_tables(found.folder, place)
    with pytest.raises(WhyError, match="found a table conditions there already"):
        write_plate_tables(found.folder, place)
    assert write_plate_tables(found.folder, place, overwrite=True)
    group = zarr.open_group(place, mode="r", use_consolidated=True)
    assert sorted(group["tables"].group_keys()) == ["conditions", "wells"]
    assert list(group["tables"].attrs["tables"]) == ["conditions", "wells"]
    assert group["tables/wells"].attrs["type"] == "generic_table"


def test_metadata_that_were_not_consolidated_are_left_so(found, plate):
    write_plate_tables(found.folder, plate)
    assert not list(plate.rglob(".zmetadata"))


def test_wells_of_another_plate_are_not_written(found, plate, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    wells = pd.read_parquet(found.folder / "wells.parquet")
    wells[wells["Metadata_Plate"] == "P1"].to_parquet(one / "wells.parquet")
    (one / "record.json").write_text("{}")
    # the only plate of the screen, whose wells it has too: by its name it is another one
    other = plate.rename(tmp_path / "P9.zarr")
    with pytest.raises(WhyError, match="found no plate 'P9' in the screen; expected one of P1"):
        write_plate_tables(one, other)
    # of that name, and with other wells
    named = other.rename(tmp_path / "P1.zarr")
    about = {"rows": [], "columns": [], "wells": [{"path": "A/1"}, {"path": "P/24"}]}
    zarr.open_group(named, mode="r+").attrs["plate"] = about
    with pytest.raises(WhyError, match=r"no well A02 \(15 of 16 wells of P1"):
        write_plate_tables(one, named)
    assert not (named / "tables").exists()
    assert write_plate_tables(one, named, name="P1") == ["conditions", "wells"]


def test_what_is_no_plate_or_another_one_is_refused(found, plate, tmp_path):
    with pytest.raises(WhyError, match="found no plate 'P7' in the screen; expected one of P1, P2"):
        write_plate_tables(found.folder, plate, name="P7")
    zarr.open_group(tmp_path / "P1.zarr", mode="w", zarr_format=2).attrs["multiscales"] = []
    with pytest.raises(WhyError, match="that is no plate"):
        write_plate_tables(found.folder, tmp_path / "P1.zarr")
    with pytest.raises(WhyError, match="found no tables of a screen that is done"):
        to_anndata(tmp_path)
    assert not (tmp_path / "P1.zarr" / "tables").exists()
