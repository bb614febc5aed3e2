"""The page of the Open dock that shows a plate."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_why.simulation import simulate_to_folder
from napari_why.widgets.open_dock import OpenDock


@pytest.fixture
def plate(tmp_path: Path) -> tuple[Path, Path]:
    """Two fields of each of eight wells, and a plate map that lists one well more."""
    folder = tmp_path / "scenes"
    simulate_to_folder(folder, 16, size=32, wells=4)
    from napari_why.datasets import Dataset

    table = Dataset.open(folder).table
    images = tmp_path / "plate"
    images.mkdir()
    lines = ["well,drug"]
    for number, row in enumerate(table.itertuples()):
        Path(row.path).rename(images / f"{'AB'[number % 2]}{number // 4 + 1:02d}_f{number}.ome.tif")
    lines += [
        f"{row}{column},{drug}" for row, drug in (("A", "x"), ("B", "y")) for column in range(1, 5)
    ]
    (tmp_path / "map.csv").write_text("\n".join([*lines, "C1,x"]))
    return images, tmp_path / "map.csv"


def test_the_plate_is_drawn_and_a_click_opens_a_well(qtbot, viewer, dock, plate) -> None:
    viewer.layers.clear()
    opening = dock(OpenDock, viewer)
    panel = opening.plate
    opening.dataset.open_location(*plate)
    opening.dataset.use()
    grid = panel.grid
    assert {place for place, well in grid.wells.items() if well.there} == {
        (row, column) for row in range(2) for column in range(4)
    }
    assert not grid.wells[2, 0].there
    assert grid.wells[0, 0].colour != grid.wells[1, 0].colour
    assert (grid.rows, grid.columns) == (4, 6)
    assert "No image was found of C01." in opening.dataset.about.text().split("\n\n")
    assert "well" not in grid.wells[0, 1].words
    assert grid.pictures == set()

    panel.draw_thumbnails()
    assert grid.pictures == {place for place, well in grid.wells.items() if well.there}

    grid.resize(400, grid.heightForWidth(400))
    shown = grid.grab().toImage()
    middle = grid.centre_of((1, 2)).toPoint()
    assert grid.well_at(grid.centre_of((1, 2))) == (1, 2)
    assert shown.pixelColor(middle).isValid()
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.centre_of((2, 0)).toPoint())
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=QPoint(1, 1))
    assert len(viewer.layers) == 0
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4)  # two fields of two channels
    assert all(layer.name.startswith("B03") for layer in viewer.layers)


def test_names_of_files_are_told_for_plates_and_folders(dock, tmp_path: Path) -> None:
    """Wells A1 to B2 with files x-1 and x-2, which no microscope writes."""
    lines = ["well,treatment"]
    for number, well in enumerate(("A01", "A02", "B01", "B02")):
        lines.append(f"{well},{well[0]}")
        for channel in (1, 2):
            path = tmp_path / "plate" / well[0] / f"{well}-{channel}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.full((8, 8), 10 * channel + number, "uint16"), metadata=None)
    (tmp_path / "map.csv").write_text("\n".join(lines))
    for location in ((tmp_path / "plate", tmp_path / "map.csv"), (tmp_path / "plate",)):
        opening = dock(OpenDock, ViewerModel())
        panel = opening.dataset
        panel.open_location(*location)
        assert "channels of one image" in opening.message.text()
        assert panel.more_button.isChecked()
        panel.pattern.setText(r"(?P<well>.+)-(?P<channel>\d)")
        panel.pattern.returnPressed.emit()
        panel.use()
        assert opening.state.dataset.channels == ("1", "2")
        assert len(opening.state.dataset) == 4
        assert "8 files were taken as 4 images of 1 and 2" in panel.about.text()
