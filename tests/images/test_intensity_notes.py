"""What the values of an image tell about how they were made."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.images import read, tiff

DIM, BRIGHT = (np.random.default_rng(0).integers(9, high, (40, 50)) for high in (900, 9000))


def save(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path, pixels.astype("uint16"), metadata=None, photometric="minisblack")
    return path


def test_twelve_bits_are_said_of_images_all_of_whose_channels_are_so(tmp_path: Path) -> None:
    both = read(save(tmp_path / "both.tif", np.stack([DIM, DIM // 2]))).attrs["notes"]
    assert sum("12 bits stored in 16" in note for note in both) == 2
    mixed = read(save(tmp_path / "mixed.tif", np.stack([DIM, BRIGHT]))).attrs["notes"]
    assert "12 bits" not in " ".join(mixed)


def test_channels_in_files_of_their_own_are_judged_together(tmp_path: Path) -> None:
    for name, pixels in (("p_B02_s1_w1.tif", DIM), ("p_B02_s1_w2.tif", BRIGHT)):
        save(tmp_path / name, pixels)
    assert "12 bits" not in " ".join(read(tmp_path / "p_B02_s1_w1.tif").attrs["notes"])
    alone = read([tmp_path / "p_B02_s1_w1.tif"]).attrs["notes"]
    assert "w1: values reach 899: 12 bits stored in 16." in alone


def test_time_series_and_images_read_plane_by_plane_are_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = np.random.default_rng(0).integers(0, 3000, (4, 20, 30)).astype("uint16")
    pages[0, 0, 0] = 2999
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, pages, metadata=None, photometric="minisblack")
    for axes in ("tyx", "zyx"):
        assert "12 bits stored in 16" in " ".join(read(path, axes=axes).attrs["notes"])
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    (note,) = read(path, axes="tyx").attrs["notes"]
    assert note == "First plane of channel 1: values reach 2999: 12 bits stored in 16."
