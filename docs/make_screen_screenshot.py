"""Make the picture of the page Screen in the user guide: simulated plates, and a well with its maps.

Usage, with a display or under Xvfb::

    xvfb-run -a -s "-screen 0 1366x768x24" python docs/make_screen_screenshot.py WORK FOLDER [THEME]

``WORK`` takes classifier, plates and results, and is used again; ``THEME`` is napari's ``dark`` or ``light``.
With QT_SCALE_FACTOR=2 and a screen of 2732x1536 the dock alone is kept, at twice the size.
"""

import sys
from pathlib import Path

import napari
from dock_screenshots import open_page, take_picture, wait_for
from napari.settings import get_settings

import napari_why as why
from napari_why.simulation.compounds import ScreenDesign, simulate_screen

WIDTH, HEIGHT = 1366, 740  # a small notebook: what fits here fits everywhere
# Compounds on plates of 96 wells, and cells of both kinds to learn from.
DESIGN = ScreenDesign(compounds=60, actives=4, plates=2, fields=2, shape=(8, 12), size=64)
IMAGES, EPOCHS = 240, 20


def make_model(place: Path) -> "why.Classifier":
    """Train the classifier of the picture, or load it."""
    if place.exists():
        return why.load(place)
    dataset = why.simulate(IMAGES, size=DESIGN.size, wells=40, classes=("diseased", "healthy"))
    classifier = why.fit(
        dataset.split(seed=0), size=DESIGN.size, epochs=EPOCHS, pixel_maps=False, lock="none"
    )
    classifier.save(place)
    return classifier


def main(work: Path, folder: Path, theme: str) -> None:
    """Run a screen from the page, open a well of a hit, and take a picture."""
    classifier = make_model(work / "model")
    plate_map = work / "data" / "plate_map.csv"
    if not plate_map.exists():
        simulate_screen(plate_map.parent, DESIGN)
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(show=True)
    viewer.window.resize(WIDTH, HEIGHT)
    page = open_page(viewer, "Screen")
    page.state.use_classifier(classifier, work / "model")
    wait_for(lambda: page.questions is not None and bool(page.each.attribution.name))
    page.plates.show_paths([str(work / "data" / "plates")])
    page.plate_map.line.setText(str(plate_map))
    for name, value in (("negative", "DMSO"), ("positive", "healthy")):
        page.questions.set_value(name, value)
    page.each.attribute.setChecked(True)
    page.each.pictures.setChecked(True)
    page.out.line.setText(str(work / "results"))
    page.engine.set_value("workers", 1)
    page.button.click()
    wait_for(lambda: page.session.state is not None and page.session.state.complete)
    # the clearest that changes nothing else
    number = list(page.session.state.hits["finding"]).index("towards healthy")
    plate, well = page.session.state.wells_of_hit(number)[0]
    page.shown.plate.setCurrentText(plate)
    page.shown.choose_well(plate, well)
    page.open_well(plate, well)
    wait_for(lambda: bool(page.session.opener.opened) and not page.session.opener.busy)
    page.scroll_to(page.status)
    wait_for(lambda: True)
    picture, scale = take_picture(viewer, page)
    folder.mkdir(parents=True, exist_ok=True)
    # in all its colours: with fewer, those of the wells would be others than those of their bar
    picture.save(folder / f"guide-screen-{theme}{scale}.png", optimize=True)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "dark")
