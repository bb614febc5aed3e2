"""Known changes of real images: here scenes stand for them, at which nobody looks as such."""

import numpy as np
import pytest
import xarray as xr

from napari_why import Dataset, plant
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.images import make_image, read
from napari_why.simulation import (
    PLANTED_EFFECTS,
    EffectScene,
    PlantedImages,
    change_image,
    plant_to_folder,
    simulate,
)
from napari_why.simulation.planted_effects import find_cells, find_planted_effect
from napari_why.simulation.planted_rendering import estimate_noise
from napari_why.simulation.planting import (
    PlantOptions,
    Sources,
    choose_planted,
    lay_out_tiles,
    read_images,
)

WAYS = [
    (effect.name, way)
    for effect in PLANTED_EFFECTS.values()
    if not effect.name.startswith("partial_")
    for way in effect.directions
]


@pytest.fixture(scope="module")
def field() -> xr.DataArray:
    return EffectScene(0, size=96).image("healthy")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(24, size=64)


@pytest.fixture(scope="module")
def planted(dataset: Dataset) -> PlantedImages:
    return plant(dataset, "dimming", tile=32)


@pytest.mark.parametrize(("effect", "way"), WAYS)
def test_every_effect_changes_its_channel_alone_and_nothing_at_strength_0(
    field: xr.DataArray, effect: str, way: str
) -> None:
    before = field.to_numpy().astype(float)
    settings = {"channels": [1], "nuclei": 0, "direction": way}
    after = change_image(before, effect, **settings)
    assert after.dtype == np.float64
    assert (after[0] == before[0]).all()
    assert np.abs(after[1] - before[1]).max() > 100
    assert (change_image(before, effect, **settings, strength=0) == before).all()
    half, same = (change_image(before, effect, **settings, strength=0.5) for _ in range(2))
    assert (half == same).all()
    assert np.linalg.norm(half - before) < np.linalg.norm(after - before)


@pytest.mark.parametrize(
    "effect",
    [effect for effect in PLANTED_EFFECTS.values() if effect.opposite],
    ids=lambda effect: effect.name,
)
def test_directions_are_each_others_opposite(field: xr.DataArray, effect) -> None:
    before = field.to_numpy().astype(float)
    first, second = (
        change_image(before, effect.name, channels=[1], nuclei=0, direction=way)[1] - before[1]
        for way in effect.directions
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < -0.4
    assert np.linalg.norm(first) < 5 * np.linalg.norm(second) < 25 * np.linalg.norm(first)


def test_dimming_takes_light_and_not_the_background(field: xr.DataArray) -> None:
    before = field.to_numpy().astype(float)
    change = change_image(before, "dimming", channels=[1], nuclei=0)[1] - before[1]
    bright, dark = before[1] > np.percentile(before[1], 99), before[1] < np.median(before[1])
    ground = np.percentile(before[1], 10)
    assert (change <= 0).all()
    assert change[bright].mean() == pytest.approx(
        -(before[1][bright].mean() - ground) / 2, rel=0.15
    )
    assert abs(change[dark].mean()) < 0.1 * abs(change[bright].mean())


@pytest.mark.parametrize("effect", ["redistribution", "fragmentation"])
def test_every_cell_keeps_its_light(field: xr.DataArray, effect: str) -> None:
    before = field.to_numpy().astype(float)
    cells = find_cells(before[0], before[0].shape)
    change = change_image(before, effect, channels=[1], nuclei=0, strength=2)[1] - before[1]
    totals = np.bincount(cells.number.ravel(), change.ravel())
    moved = np.bincount(cells.number.ravel(), np.abs(change).ravel())
    assert len(totals) > 4
    assert np.abs(totals).max() < 1e-9 * moved.max()


def test_light_moves_towards_nuclei_or_away_from_them(field: xr.DataArray) -> None:
    before = field.to_numpy().astype(float)
    cells = find_cells(before[0], before[0].shape)
    near = cells.distance < 0.5 * cells.radius
    towards, away = (
        (change_image(before, way, channels=[1], nuclei=0)[1] - before[1])[near].sum()
        for way in ("towards_nuclei", "away_from_nuclei")
    )
    assert towards > 0 > away


def test_half_of_the_cells_respond_wholly_and_the_others_not_at_all(field: xr.DataArray) -> None:
    before = field.to_numpy().astype(float)
    cells = find_cells(before[0], before[0].shape)
    whole = change_image(before, "dimming", channels=[1], nuclei=0)[1] - before[1]
    some = change_image(before, "partial_dimming", channels=[1], nuclei=0, rng=3)[1] - before[1]
    shares = [
        some[cells.nuclei & (cells.number == number)].sum()
        / whole[cells.nuclei & (cells.number == number)].sum()
        for number in range(1, cells.number.max() + 1)
    ]
    responding = [share > 0.8 for share in shares]
    assert all(share > 0.8 or share < 0.2 for share in shares)
    assert abs(sum(responding) - len(shares) / 2) <= 1


def test_two_channels_break_at_the_same_places_and_any_number_is_taken() -> None:
    rng = np.random.default_rng(0)
    plane = EffectScene(1, size=64).image("healthy").to_numpy()[1]
    image = np.stack([plane, plane, rng.poisson(100, plane.shape), plane])
    after = change_image(image, "fragmentation", channels=[0, 3])
    assert (after[0] == after[3]).all()
    assert (after[1:3] == image[1:3]).all()


@pytest.mark.parametrize(("effect", "way"), WAYS)
def test_effects_are_defined_without_a_nucleus_and_on_flat_images(effect: str, way: str) -> None:
    noise = np.random.default_rng(0).normal(500, 10, (2, 20, 17))
    assert find_cells(noise[0], (20, 17)).centres.shape == (0, 2)
    for image in (noise, np.full((2, 20, 17), 7.0)):
        after = change_image(image, effect, channels=[1], nuclei=0, direction=way, strength=2)
        assert np.isfinite(after).all()


def test_refusals_are_in_words(field: xr.DataArray) -> None:
    for wrong, settings in (
        ("expected one of brightness", {"effect": "magic", "channels": [1]}),
        ("expected swelling, shrinking", {"effect": "size", "channels": [1], "direction": "up"}),
        ("expected dimming", {"effect": "dimming", "channels": [1], "direction": "brightening"}),
        ("expected 0 to 2", {"effect": "size", "channels": [1], "strength": 3}),
        ("expected some of 0 to 1", {"effect": "size", "channels": [2]}),
        ("found none; expected some", {"effect": "size", "channels": []}),
    ):
        with pytest.raises(ParameterError, match=wrong):
            change_image(field.to_numpy(), **settings)
    assert find_planted_effect("partial_size", "shrinking")[1] == "partial_shrinking"


def test_gain_and_floor_of_a_camera_are_found() -> None:
    rng = np.random.default_rng(0)
    light = 200 + 800 * np.linspace(0, 1, 240)[None].repeat(240, 0)
    light[:, ::40] *= 1.5  # structure, which is no noise
    seen = 100 + 5 * (rng.poisson(light) + rng.normal(0, 4, light.shape))
    noise = estimate_noise([seen])
    assert noise.gain == pytest.approx(5, rel=0.25)
    level = np.array([100 + 5 * 500.0])
    assert noise.variance(level)[0] == pytest.approx(25 * (500 + 16), rel=0.25)
    # of nothing nothing is estimated, and a single pixel is no failure
    assert estimate_noise([np.full((30, 30), 7.0)]).variance(level)[0] == 0
    assert estimate_noise([np.zeros((3, 3))]).floor == 0


def test_truth_and_source_make_the_planted_image(planted: PlantedImages) -> None:
    assert planted.classes == ("planted", "untouched")
    assert planted.affected == (1,)
    for row in range(0, len(planted), 7):
        tile = planted.tile(row)
        label = planted.table["label"].iloc[row]
        other = "untouched" if label == "planted" else "planted"
        assert (planted.image(row) == tile.image(label)).all()
        assert planted.image(row).dtype == np.uint16
        assert (planted.true_change(row) == tile.true_change(label, other)).all()
        forth, back = (
            tile.true_change("untouched", "planted"),
            tile.true_change("planted", "untouched"),
        )
        assert (forth == -back).all()
        made = tile.noise_free("untouched") + forth
        assert (made == tile.noise_free("planted")).all()
        assert not forth.sel(c="DAPI").any()
        assert (tile.image("untouched").sel(c="DAPI") == tile.image("planted").sel(c="DAPI")).all()
        # what the camera adds to the untouched tile is less than what is in it
        added = (tile.image("untouched") - tile.noise_free("untouched")).sel(c="TMRM")
        assert 0 < float(added.std()) < 50
    # a part knows the truth of its rows too
    part = planted.split(seed=1).part("test")
    assert (part.image(0) == part.tile(0).image(part.table["label"].iloc[0])).all()
    with pytest.raises(ParameterError, match="expected one of untouched, planted"):
        planted.tile(0).image("treated")


def test_planted_images_have_the_noise_of_images_so_bright() -> None:
    rng = np.random.default_rng(0)
    # Two halves, of which the bright one is dimmed onto the half of its light above the dark one.
    light = np.full((96, 96), 100.0)
    light[20:76, 20:76] = 500.0

    def seen() -> xr.DataArray:
        nuclei = rng.poisson(light).astype(float)
        return make_image(
            np.rint(100 + 10 * np.stack([nuclei, rng.poisson(light)])).astype(np.uint16),
            "cyx",
            ["DAPI", "TMRM"],
        )

    planted = plant([seen() for _ in range(12)], "dimming", tile=96)
    inside = (slice(24, 72), slice(24, 72))
    residuals = {"untouched": [], "planted": []}
    for row in range(len(planted)):
        for label, found in residuals.items():
            pixels = planted.tile(row).image(label).to_numpy()[1][inside].astype(float)
            found.append(np.var(np.diff(pixels, axis=0)) / 2)
    # Half of 400 photons less: 100 times 300 photons are left of the variance of 500.
    ratio = np.mean(residuals["planted"]) / np.mean(residuals["untouched"])
    assert ratio == pytest.approx(300 / 500, rel=0.12)


def test_noise_of_an_empty_tile_does_not_tell_the_class() -> None:
    rng = np.random.default_rng(0)
    fields = [
        make_image(rng.poisson(90, (2, 48, 48)).astype(np.uint8), "cyx", ["DAPI", "TMRM"])
        for _ in range(12)
    ]
    # Eight bits come in steps of 256, which would tell what was never touched.
    planted = plant(fields, "dimming", tile=48, strength=0)
    for row in range(len(planted)):
        tile = planted.tile(row)
        assert (tile.image("planted") == tile.image("untouched")).all()
        assert not tile.true_change("untouched", "planted").any()
        assert len(np.unique(tile.image("planted").to_numpy() % 256)) > 200


def test_groups_are_wells_half_of_each_class_and_never_in_two_splits(
    dataset: Dataset, planted: PlantedImages
) -> None:
    table = planted.split(seed=0).table
    assert planted.group_columns == ("group",)
    assert table.groupby("group")["split"].nunique().max() == 1
    assert table.groupby("group")["label"].nunique().max() == 1
    wells = (dataset.table["plate"] + "/" + dataset.table["well"]).unique()
    assert set(table["group"]) == set(wells)
    groups = table.drop_duplicates("group")
    shares = groups.groupby("source_label")["label"].agg(lambda found: (found == "planted").mean())
    assert shares.tolist() == [0.5, 0.5]


def test_the_seed_draws_the_same_again(dataset: Dataset, planted: PlantedImages) -> None:
    few = dataset.select(range(12))
    first, again, other = (plant(few, "partial_dimming", tile=32, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert list(first.table["label"]) == list(again.table["label"]) != list(other.table["label"])


def test_a_few_large_fields_are_cut_into_bands_that_lie_apart() -> None:
    fields = [EffectScene(number, size=320).image("healthy") for number in (0, 1)]
    table = lay_out_tiles(Sources.of(fields), PlantOptions(tile=32))
    assert table["group"].nunique() >= 12
    assert "bands" in table.attrs["notes"][0]
    for _, tiles in table.groupby("image"):
        spans = tiles.groupby("group")["y"].agg(["min", "max"]).sort_values("min").to_numpy()
        assert (spans[1:, 0] - (spans[:-1, 1] + 32) >= 16).all()


def test_too_little_is_refused_in_words(dataset: Dataset) -> None:
    small = [dataset.image(0)]
    with pytest.raises(DatasetError, match=r"expected at least 6.*take more images"):
        plant(small, tile=32)
    with pytest.raises(DatasetError, match="expected no more than fit"):
        plant(dataset, tile=128)
    with pytest.raises(DatasetError, match="lower content"):
        plant(dataset, tile=32, content=1.0)
    with pytest.raises(ParameterError, match="expected one of DAPI, TMRM"):
        plant(dataset, channel="GFP")
    with pytest.raises(DatasetError, match="found none; expected some"):
        plant([])
    with pytest.raises(DatasetError, match="expected 8 or 16 bits"):
        plant([image.astype(np.float32) for image in map(dataset.image, range(12))], tile=32)
    with pytest.raises(WhyError, match="cancelled"):
        plant(dataset, tile=32, cancelled=lambda: True)


def test_uneven_light_comes_with_the_label_or_not_and_is_no_truth(dataset: Dataset) -> None:
    few = dataset.select(range(12))
    plain, shaded = (
        plant(few, "dimming", tile=32, gradient=strength, gradient_share=1.0)
        for strength in (0.0, 1.0)
    )
    assert (shaded.table["gradient"] == (shaded.table["label"] == "planted")).all()
    assert not plain.table["gradient"].any()
    row = int(np.flatnonzero(shaded.table["gradient"])[0])
    bare, uneven = (found.tile(row) for found in (plain, shaded))
    light = uneven.noise_free("untouched").to_numpy() / bare.noise_free("untouched").to_numpy()
    assert light[..., -4:].mean() > 1.1 > 0.9 > light[..., :4].mean()
    assert not uneven.true_change("untouched", "planted").sel(c="DAPI").any()
    loose = plant(few, "dimming", tile=32, gradient=1.0)
    assert loose.table.groupby("label")["gradient"].mean().between(0.2, 0.8).all()


def test_a_folder_holds_images_labels_and_truth(dataset: Dataset, tmp_path) -> None:
    few = dataset.select(range(12))
    plant_to_folder(tmp_path / "made", few, "swelling", tile=32, count=12)
    found = Dataset.open(tmp_path / "made", group="group")
    again = plant(few, "swelling", tile=32, count=12)
    assert len(found) == 12
    assert found.classes == again.classes
    assert (found.image(5).to_numpy() == again.image(5).to_numpy()).all()
    truth = read(tmp_path / "made" / found.table["truth"].iloc[5])
    assert truth.dtype == np.float32
    assert truth.to_numpy() == pytest.approx(again.true_change(5).to_numpy(), abs=0.01)
    with pytest.raises(WhyError, match="expected a new or empty one"):
        plant_to_folder(tmp_path / "made", few)
    assert read_images(tmp_path / "made") == []
    assert len(read_images(tmp_path / "made" / "truth")) == 12


def test_labels_are_balanced_within_each_split() -> None:
    import pandas as pd

    table = pd.DataFrame({"group": list("abcdefgh"), "source_label": list("xxyyxyxy")})
    table["split"] = ["train"] * 3 + ["validation"] * 2 + ["test"] * 3
    for seed in range(5):
        labels = pd.Series(choose_planted(table, 0.5, seed)).groupby(table["split"]).nunique()
        assert (labels == 2).all()
