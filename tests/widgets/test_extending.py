"""The dock of docs/extending.md and the thread of docs/user-guide.md, exactly as they stand there."""

import re
from pathlib import Path

import pytest

import napari_why as why
from napari_why.sessions import state_of
from napari_why.widgets.image_files import layers_of

DOCS = Path(__file__).parents[2] / "docs"


def python_block(page, containing):
    """Return the one example in Python on a page that contains a text."""
    blocks = re.findall(
        r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL
    )
    (block,) = [block for block in blocks if containing in block]
    return block


@pytest.fixture
def napari_viewer(make_napari_viewer, dataset, classifier):
    viewer = make_napari_viewer()
    for layer in layers_of(dataset.image(0)):
        viewer.add_layer(layer)
    state_of(viewer).classifier = classifier
    return viewer


def test_the_dock_of_the_documentation_works_in_a_viewer(qtbot, napari_viewer):
    code = python_block("extending.md", "class ProbabilityDock")
    assert len(code.splitlines()) <= 30
    names = {}
    exec(code, names)  # noqa: S102
    dock = names["ProbabilityDock"](napari_viewer)
    napari_viewer.window.add_dock_widget(dock, name="Probability")
    dock.button.click()
    qtbot.waitUntil(lambda: dock.session.slider is not None, timeout=60_000)
    assert dock.label.text().startswith("alpha 0.00: {'diseased': ")
    napari_viewer.dims.set_current_step(0, 4)
    assert dock.label.text() == f"alpha {dock.session.alpha:.2f}: {dock.session.probabilities}"


def test_what_goes_wrong_is_said_in_words_in_the_dock_of_the_documentation(qtbot, viewer):
    names = {}
    exec(python_block("extending.md", "class ProbabilityDock"), names)  # noqa: S102
    dock = names["ProbabilityDock"](viewer)
    qtbot.addWidget(dock)
    dock.button.click()
    assert "classifier: found none" in dock.message.text()
    dock.shut_down()


def test_the_thread_of_the_documentation_shows_its_result(qtbot, napari_viewer):
    session = why.CounterfactualSession(napari_viewer)
    exec(python_block("user-guide.md", "thread_worker"), {"session": session})  # noqa: S102
    qtbot.waitUntil(lambda: session.slider is not None, timeout=60_000)
    assert len(session.result.alphas) == 11
