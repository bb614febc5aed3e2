"""What the pages of the site say is run, as it stands there, but for the size of the networks.

A block that other tests run is listed in ``ELSEWHERE``, with the test; every other one is run here.
"""

import re
import shlex
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import napari_why as why
from napari_why.cli import main
from napari_why.fitting import fit
from napari_why.images import write
from napari_why.simulation import simulate, simulate_to_folder

TESTS = Path(__file__).parent
BUILT = ("_build", "generated", "gallery")
DOCS = TESTS.parent / "docs"
SIZE = 32
SMALL: dict[str, Any] = {
    "size": SIZE,
    "epochs": 1,
    "network_parameters": {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"},
    "threads": 1,
    "pixel_maps": False,
    "lock": "none",
    "second_network": False,
}
# The same for the shell, in place of what a page says.
SMALL_OPTIONS = (
    "--size=32 --epochs=1 --threads=1 --no-pixel-maps --lock=none --no-second-network "
    "--blocks=1,1 --widths=4,4 --downscaling=2,2"
)
# Blocks that other tests run, or whose work they do at their own size, by a word of the block.
ELSEWHERE = {
    "batch.md": {"": "batch/test_docs.py"},
    "extending.md": {
        "recognises": "images/test_other_formats.py",
        "plain_net": "networks/test_new_network.py",
        "smooth_grad": "cli/test_other_packages.py",
        "steepest_step": "cli/test_other_packages.py",
        "ProbabilityDock": "widgets/test_extending.py",
    },
    "exchange.md": {"": "exchange/test_docs.py"},
    "generation.md": {"": "generation/test_docs.py"},
    "screening.md": {"": "screening/test_docs.py"},
    "attribution.md": {"squared_gradient": "attribution/test_examples.py"},
    "attribution-benchmark.md": {"run_attribution_benchmark": "benchmark/test_attribution.py"},
    "class-maps.md": {"study_imbalance": "evaluation/test_imbalance.py"},
    "counterfactuals.md": {
        'generator="iresnet"': "counterfactuals/test_through.py",
        "mine = why.Classifier": "counterfactuals/test_through.py",
        "fit_translation": "counterfactuals/test_translation.py",
        "fit_flow": "counterfactuals/test_translation.py",
        "whole_field=True": "counterfactuals/test_whole_field.py",
        'change="parametric"': "counterfactuals/test_spread.py",
        'change="responding_cells"': "counterfactuals/test_samples.py",
        "fit_coarse_to_fine": "transport/test_coarse_to_fine.py",
    },
    "datasets.md": {"plate7": "datasets/test_plate_images.py"},
    "explanation-metrics.md": {
        "ExplanationCase(network": "evaluation/test_faithfulness_metrics.py",
        "sparseness": "evaluation/test_explanation_score.py",
    },
    "planted-benchmark.md": {"why.plant": "simulation/test_planting.py"},
    "networks.md": {
        "why.sample": "generation/test_generation.py",
        "wrap(encoder": "networks/test_wrapped.py",
    },
    "truth-benchmark.md": {"write_pictures": "benchmark/test_pictures.py"},
    "user-guide.md": {
        "session.explain": "sessions/test_counterfactual_session.py",
        "thread_worker": "widgets/test_extending.py",
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages open: images by class and by well, a field, two classifiers."""
    folder = tmp_path_factory.mktemp("pages")
    simulate_to_folder(folder / "plate1", 24, size=SIZE, wells=6)
    shutil.copytree(folder / "plate1", folder / "plate")
    scenes = simulate(24, size=SIZE, wells=6)
    write(scenes.image(0), folder / "field.ome.tif")
    (folder / "wells").mkdir()
    rows = ["well,treatment"]
    for row, (well, label) in enumerate(scenes.table[["well", "label"]].itertuples(index=False)):
        write(scenes.image(row), folder / "wells" / f"{well}_f{row}.ome.tif")
        rows.append(f"{well},{label}")
    (folder / "wells.csv").write_text("\n".join(dict.fromkeys(rows)) + "\n")
    table = folder / "plate" / "labels.csv"
    pd.read_csv(table).assign(cell_line="wild type").to_csv(table, index=False)
    train = partial(fit, network="iresnet", on_event=why.quiet, **SMALL)
    model = train(simulate(24, size=SIZE, wells=6, seed=1).split(seed=1))
    call_diseased(model, folder / "field.ome.tif")
    model.save(folder / "model")
    controls = simulate(24, classes=("diseased", "healthy"), size=SIZE, wells=6, seed=1)
    train(controls.split(seed=1)).save(folder / "healing")
    return folder


def call_diseased(classifier: why.Classifier, file: Path) -> None:
    """Move the bias of the head, so that the field is diseased whatever the short training reached."""
    logits = classifier.predict(why.read(file)).logits
    *_, last = (
        module
        for module in classifier.network.modules()
        if isinstance(module, nn.Linear) and module.out_features == len(classifier.classes)
    )
    diseased, treated = (classifier.classes.index(name) for name in ("diseased", "treated"))
    with torch.no_grad():
        last.bias[diseased] += float(logits[treated] - logits[diseased]) + 1.0
    assert classifier.predict(why.read(file)).label == "diseased"


@pytest.fixture
def viewer(place: Path) -> Any:
    """Return a viewer in which the field is open."""
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_why.napari_reader import image_layers

    opened = ViewerModel()
    for data in image_layers(why.read(place / "field.ome.tif")):
        opened.add_layer(Layer.create(*data))
    return opened


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the working folder, and trainings that take a moment."""
    shutil.copytree(made, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr(why, "fit", lambda data, *names, **_: fit(data, *names, **SMALL))
    return tmp_path / "place"


def run_shell(block: str) -> None:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line)[1:]
        if words[0] == "train":
            kept = words[: words.index("--size")]
            words = [*kept, *SMALL_OPTIONS.split()]
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0, line


def blocks_of(name: str) -> list[tuple[str, str]]:
    """Return the language and text of the blocks of a page that nothing else runs."""
    text = (DOCS / name).read_text(encoding="utf-8")
    kinds = "python|bash" if "/" in name else "python"  # commands of benchmarks take hours
    found = re.findall(rf"^```({kinds})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [item for item in found if not any(word in item[1] for word in ELSEWHERE.get(name, {}))]


PAGES = {
    name: blocks
    for path in sorted(DOCS.rglob("*.md"))
    if (name := path.relative_to(DOCS).as_posix()).split("/")[0] not in BUILT
    if (blocks := blocks_of(name))
}


@pytest.fixture
def known(place: Path) -> dict[str, Any]:
    """What pages of the reference take for given: a classifier, images, a result."""
    classifier, image = why.load(place / "model"), why.read(place / "field.ome.tif")
    plate = why.Dataset.open(place / "plate1").split(seed=0)
    return {
        "why": why,
        "classifier": classifier,
        "image": image,
        "dataset": plate,
        "plate": plate,
        "result": why.counterfactual(classifier, image, "treated", on_event=why.quiet),
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs(name: str, known: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if name == "user-guide.md":
        known["viewer"] = request.getfixturevalue("viewer")
    if name == "training.md":
        shutil.rmtree("model")  # which that page saves
    for kind, block in PAGES[name]:
        if kind == "bash":
            run_shell(block)
        else:
            exec(compile(block, name, "exec"), known)  # noqa: S102 - that it runs is what is tested


def test_what_is_run_elsewhere_is_there() -> None:
    for name, words in ELSEWHERE.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        for word, test in words.items():
            assert word in text, (name, word)
            assert (TESTS / test).is_file(), test
