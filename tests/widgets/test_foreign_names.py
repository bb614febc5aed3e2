"""Names of files, classes, channels, columns and wells that look like markup are shown as they are."""

from html import unescape
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QLabel, QTableWidget, QToolTip, QWidget

from napari_why.datasets import Dataset
from napari_why.images import make_image
from napari_why.sessions import state_of
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.image_files import layers_of
from napari_why.widgets.latent_space_dock import LatentSpaceDock
from napari_why.widgets.open_dock import OpenDock
from napari_why.widgets.tables import PlainLabel, plain_tip

CHANNELS = ["<i>DAPI</i>", "TMRM<img src=t.png>"]
CLASSES = ["<b>healthy</b>", '<a href="x">treated</a>']
# What a reader has to see, wherever one of the names is shown.
PIECES = ("<i>DAPI</i>", "TMRM<img src=t.png>", *CLASSES, "<u>P1</u>", "<s>day</s>")


@pytest.fixture(scope="module")
def odd(dataset) -> Dataset:
    """The simulated data set with names that look like markup."""
    images = [
        make_image(
            np.asarray(dataset.image(row)), "cyx", CHANNELS, source=f"<img src=f{row}.png>.tif"
        )
        for row in range(len(dataset))
    ]
    labels = [CLASSES[number] for number in dataset.labels]
    wells = list(dataset.table["well"])
    made = Dataset.from_images(images, labels, plate=["<u>P1</u>"] * len(images), well=wells)
    made.table["<s>day</s>"] = labels
    return made.split(seed=1)


@pytest.fixture(scope="module")
def odd_classifier(odd):
    from napari_why.fitting import fit

    tiny = {"blocks": "1", "widths": "4", "downscaling": "2"}
    options = {
        "size": 32,
        "epochs": 1,
        "threads": 1,
        "lock": "none",
        "pixel_maps": False,
        "second_network": False,
    }
    return fit(odd, "iresnet", network_parameters=tiny, **options)


@pytest.fixture
def odd_viewer(odd) -> ViewerModel:
    model = ViewerModel()
    for layer in layers_of(odd.image(0)):
        model.add_layer(layer)
    return model


def shown(text: str, *, rich: bool) -> str:
    """What a reader sees of a text that Qt takes for markup or not."""
    document = QTextDocument()
    document.setHtml(text) if rich else document.setPlainText(text)
    return document.toPlainText()


def is_rich(label: QLabel) -> bool:
    if label.textFormat() == Qt.TextFormat.AutoText:
        return Qt.mightBeRichText(label.text())
    return label.textFormat() == Qt.TextFormat.RichText


def texts_of(widget: QWidget) -> list[tuple[str, str, str]]:
    """Every text of a dock that Qt may take for markup: where it is, as given, as a reader sees it."""
    found = []
    for label in widget.findChildren(QLabel):
        where = f"label {label.objectName()}"
        found.append((where, label.text(), shown(label.text(), rich=is_rich(label))))
    tips = [(child, child.toolTip()) for child in [widget, *widget.findChildren(QWidget)]]
    for table in widget.findChildren(QTableWidget):
        heads = [table.horizontalHeaderItem(column) for column in range(table.columnCount())]
        cells = [
            table.item(row, column)
            for row in range(table.rowCount())
            for column in range(table.columnCount())
        ]
        tips += [(table, item.toolTip()) for item in [*heads, *cells] if item is not None]
    for owner, tip in tips:
        found.append((f"tip of {owner}", tip, shown(tip, rich=Qt.mightBeRichText(tip))))
    return found


def check_shown_as_they_are(widget: QWidget) -> int:
    """Return how many texts hold an odd name; each shows it whole, and no text loads anything."""
    count = 0
    for where, given, seen in texts_of(widget):
        for piece in PIECES:
            if piece in unescape(given):
                assert piece in seen, (where, given)
                count += 1
        # An image or link of a foreign text would stand here as its own character, or not at all.
        assert "\ufffc" not in seen, (where, given)
    return count


def test_the_docks_that_explain(qtbot, dock, odd_viewer, odd_classifier, odd) -> None:
    attribution = dock(AttributionDock, odd_viewer)
    state_of(odd_viewer).classifier = odd_classifier
    attribution.method.box.setCurrentIndex(attribution.method.box.findData("saliency"))
    attribution.button.click()
    qtbot.waitUntil(lambda: attribution.session.result is not None, timeout=20_000)
    assert check_shown_as_they_are(attribution) >= 4
    series = dock(CounterfactualDock, odd_viewer)
    state_of(odd_viewer).classifier_changed.emit(odd_classifier)
    series.path_form.set_value("steps", 3)
    series.button.click()
    qtbot.waitUntil(lambda: series.link is not None, timeout=20_000)
    series.measuring.measure()
    series.measuring.find_used()
    assert check_shown_as_they_are(series) >= 4


def test_the_classifier_dock(dock, odd_viewer, odd_classifier, odd) -> None:
    widget = dock(ClassifierDock, odd_viewer)
    widget.load_catalogue()
    state_of(odd_viewer).dataset = odd
    state_of(odd_viewer).classifier = odd_classifier
    widget.prediction.predict()
    widget.evaluation.evaluate()
    widget.message.tell(f"Saved in {CLASSES[0]}.")
    assert check_shown_as_they_are(widget) >= 6


def test_the_latent_space_dock(dock, odd_viewer, odd_classifier, odd, monkeypatch) -> None:
    widget = dock(LatentSpaceDock, odd_viewer)
    state_of(odd_viewer).classifier, state_of(odd_viewer).dataset = odd_classifier, odd
    widget.button.click()
    assert widget.view is not None, widget.message.text()
    widget._choose([0, 1])
    check_shown_as_they_are(widget)
    said = []
    monkeypatch.setattr(QToolTip, "showText", lambda _place, text, *_: said.append(text))
    widget.scatter.hovered = None
    from matplotlib.backend_bases import MouseEvent

    # nobody points at what is not drawn yet; until then matplotlib leaves the limits as they were
    widget.scatter.draw()
    x, y = widget.scatter.panels[0].transData.transform(widget.view.projection.coordinates[0])
    widget.scatter.callbacks.process(
        "motion_notify_event", MouseEvent("motion_notify_event", widget.scatter, x, y)
    )
    (tip,) = said
    assert any(name in shown(tip, rich=Qt.mightBeRichText(tip)) for name in CLASSES)


def test_the_open_dock(dock, odd, tmp_path: Path) -> None:
    widget = dock(OpenDock, ViewerModel())
    state_of(widget.viewer).dataset = odd
    widget.plate.show_dataset(odd)
    widget.message.tell(f"Of {CLASSES[1]} there are few.")
    count = check_shown_as_they_are(widget)
    assert count >= 4
    legend = widget.plate.legend
    assert CLASSES[0] in shown(legend.text(), rich=is_rich(legend))
    words = next(iter(widget.plate.grid.wells.values())).words
    assert any(name in shown(plain_tip(words), rich=True) for name in CLASSES)
    path = tmp_path / "<b>x<b><img src=y.png>.tif"
    pages = np.ones((6, 20, 30), "uint16")
    tifffile.imwrite(path, pages, metadata=None, photometric="minisblack")
    widget.images.preview([path])
    asked = widget.images.question.words
    assert path.name in shown(asked.text(), rich=is_rich(asked))
    check_shown_as_they_are(widget)


@pytest.mark.parametrize(
    "text", ["<b>x</b>", "a<br>b", "DAPI & TMRM", "1 < 2", "<img src=x>\nnext", "&amp;", "plain"]
)
def test_labels_and_tips_show_any_text_as_it_is(qtbot, text) -> None:
    label = PlainLabel(text)
    qtbot.addWidget(label)
    assert shown(label.text(), rich=is_rich(label)) == text
    tip = plain_tip(text)
    assert shown(tip, rich=Qt.mightBeRichText(tip)) == text
