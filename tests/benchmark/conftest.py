"""One small benchmark that several tests look at."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from napari_why.benchmark import RECIPES, Protocol, ResultFolder, run_truth_benchmark
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
def recipes_without_maps() -> Iterator[None]:
    """Train what transport of latents needs alone: maps of pixels, and their choice, have tests of their own."""
    quick = {
        name: replace(recipe, settings={**recipe.settings, "pixel_maps": False})
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
