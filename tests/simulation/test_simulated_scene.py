import numpy as np
import pytest
from scipy import ndimage

from napari_why.core.errors import ParameterError
from napari_why.simulation import CLASSES, Camera, SimulatedScene


def test_only_the_mitochondria_change() -> None:
    scene = SimulatedScene(0, size=64)
    images = [scene.image(label) for label in CLASSES]
    assert all(image.sel(c="DAPI").equals(images[0].sel(c="DAPI")) for image in images)
    assert not scene.change_mask("diseased", "treated").sel(c="DAPI").any()
    assert 0.02 < scene.change_mask("diseased", "treated").sel(c="TMRM").mean() < 0.5


def test_the_true_change_leads_from_one_class_to_the_other() -> None:
    scene = SimulatedScene(1, size=64)
    change = scene.true_change("healthy", "treated")
    np.testing.assert_allclose(scene.noise_free("healthy") + change, scene.noise_free("treated"))
    np.testing.assert_allclose(scene.true_change("treated", "healthy"), -change)


def test_a_noiseless_camera_sees_the_expected_grey_levels() -> None:
    scene = SimulatedScene(2, size=96)
    seen, expected = scene.image("diseased").values, scene.noise_free("diseased").values
    camera = scene.camera
    photons = (expected - camera.offset) / camera.gain
    noise = camera.gain * np.sqrt(photons + camera.read_noise**2)
    z = (seen - expected) / noise
    assert abs(z.mean()) < 0.05
    assert z.std() == pytest.approx(1, abs=0.05)


def test_fragments_keep_the_dye_of_the_network_and_treatment_loses_half() -> None:
    scene = SimulatedScene(3, size=128, camera=Camera(background=0.0))
    total = {
        label: float((scene.noise_free(label).sel(c="TMRM") - scene.camera.offset).sum())
        for label in CLASSES
    }
    assert total["diseased"] == pytest.approx(total["healthy"], rel=0.05)
    assert total["treated"] == pytest.approx(0.5 * total["diseased"], rel=0.03)


def test_cells_scale_with_the_area_and_with_the_pixel_size() -> None:
    counts = [SimulatedScene(n, size=64).cells.max() for n in range(12)]
    assert min(counts) >= 1
    assert max(counts) <= 6
    large = SimulatedScene(0, size=256).cells.max()
    assert 2 * 16 <= large <= 6 * 16
    fine = SimulatedScene(0, size=256, pixel_size=0.325)
    assert 2 * 4 <= fine.cells.max() <= 6 * 4


def test_nuclei_have_the_size_of_nuclei() -> None:
    scene = SimulatedScene(0, size=256, pixel_size=0.325)
    dapi = scene.noise_free("healthy").sel(c="DAPI").values
    regions, count = ndimage.label(dapi > (dapi.min() + dapi.max()) / 3)
    areas = np.bincount(regions.ravel())[1:] * 0.325**2
    assert count == scene.cells.max()
    diameters = 2 * np.sqrt(areas[areas > 20] / np.pi)
    assert 7 < np.median(diameters) < 11


@pytest.mark.parametrize("size", [16, 17, 40])
def test_small_fields_hold_a_cell(size: int) -> None:
    for number in range(5):
        scene = SimulatedScene(number, size=size)
        assert scene.cells.max() >= 1
        assert scene.image("treated").shape == (2, size, size)


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(ParameterError, match="found 'sick'; expected one of healthy, diseased"):
        SimulatedScene(0, size=32).image("sick")
