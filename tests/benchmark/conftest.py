"""One small benchmark that several tests look at."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from napari_why.benchmark import RECIPES, Protocol, ResultFolder, run_truth_benchmark
from napari_why.benchmark.rows import Recipe
from napari_why.core.events import Event, Message

METHODS = ("TRUTH", "do-nothing", "mean-shift", "pixel-transport", "transport")
PROTOCOL = Protocol(
    scenes="validation",
    size=32,
    training=144,
    held_out=24,
    scored=10,
    epochs=8,
    reference_epochs=12,
    paired_epochs=2,
)


def known_lock(recipe: Recipe) -> dict[str, str]:
    """Return what the lock test finds in these scenes, whose effects are those of TMRM."""
    return {"lock": "DAPI"} if recipe.settings.get("lock") == "auto" else {}


def smaller(recipe: Recipe) -> dict[str, str]:
    """Return the parameters of a smaller network of as many stages: scenes of 32 pixels need no more."""
    shape = {"blocks": "1,1,1", "widths": "16,16,16"}
    return shape if "blocks" in recipe.network_parameters else {}


@dataclass
class Finished:
    """A benchmark of a global effect and of none, one seed."""

    folder: Path
    table: pd.DataFrame
    events: list[Event] = field(default_factory=list)

    @property
    def results(self) -> ResultFolder:
        return ResultFolder(self.folder)

    @property
    def messages(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Message)]

    def rows(self, effect: str, method: str) -> pd.DataFrame:
        """Return both directions."""
        table = self.table
        return table[(table["effect"] == effect) & (table["method"] == method)]


@pytest.fixture(scope="package", autouse=True)
def quick_recipes() -> Iterator[None]:
    """Train what transport of latents needs alone: maps of pixels, their choice and the lock test have tests of their own."""
    quick = {
        name: replace(
            recipe,
            settings={**recipe.settings, "pixel_maps": False, **known_lock(recipe)},
            network_parameters={**recipe.network_parameters, **smaller(recipe)},
        )
        for name, recipe in RECIPES.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_why.benchmark.rows.RECIPES", quick)
        yield


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder, events = tmp_path_factory.mktemp("benchmark"), []
    threads = torch.get_num_threads()
    for effect, methods in (("depolarisation", METHODS), ("null", ("transport",))):
        table = run_truth_benchmark(
            folder,
            effects=(effect,),
            methods=methods,
            seeds=(0,),
            protocol=PROTOCOL,
            on_event=events.append,
        )
    assert torch.get_num_threads() == threads
    yield Finished(folder, table, events)
