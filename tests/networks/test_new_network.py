"""The network of docs/extending.md works as it stands there: registered, trained, saved, loaded."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_why.attribution import attribute
from napari_why.core.options import parameters_of
from napari_why.fitting import fit
from napari_why.model import load
from napari_why.networks import NETWORKS, NetworkEntry, build_network
from napari_why.simulation import simulate

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def example() -> str:
    section = PAGE.read_text(encoding="utf-8").partition("## A new network")[2]
    found = re.search(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def plain_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkEntry]:
    """Import the example as the module of another package is imported."""
    (tmp_path / "their_networks.py").write_text(example(), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("their_networks")
    yield NETWORKS["plain_net"]
    del NETWORKS["plain_net"], sys.modules["their_networks"]


def test_the_example_is_short() -> None:
    assert len(example().splitlines()) <= 30


def test_the_example_is_registered_with_parameters_and_schedule(plain_net) -> None:
    assert plain_net.title == "Plain"
    assert plain_net.name == "plain_net"
    assert [item.name for item in parameters_of(plain_net.builder)] == ["width"]
    assert plain_net.training.epochs == 20
    assert plain_net.training.optimiser == NETWORKS["cam_net"].training.optimiser
    network = build_network("plain_net", input_channels=2, classes=3, size=16, width=4)
    assert build_network(**network.configuration()).configuration() == network.configuration()


def test_the_example_is_fitted_explained_saved_and_loaded(plain_net, tmp_path: Path) -> None:
    images = simulate(16, size=16)
    classifier = fit(
        images, "plain_net", size=16, epochs=1, device="cpu", network_parameters={"width": 4}
    )
    assert classifier.card["parameters"]["network_parameters"] == {"width": 4}
    assert classifier.card["parameters"]["epochs"] == 1
    assert classifier.card["parameters"]["learning_rate"] == plain_net.training.learning_rate
    loaded = load(classifier.save(tmp_path / "model"))
    assert loaded.fingerprint == classifier.fingerprint
    image = images.image(0)
    assert loaded.predict(image).logits == pytest.approx(classifier.predict(image).logits)
    assert attribute(loaded, image, "cam").gap is not None
