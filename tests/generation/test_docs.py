"""What docs/generation.md says is run as it stands there, but for the number of epochs."""

import re
import shlex
from pathlib import Path

import pytest

import napari_why as why
from napari_why.cli import main
from napari_why.datasets import Dataset
from napari_why.images import write
from napari_why.simulation import simulate

PAGE = Path(__file__).parents[2] / "docs" / "generation.md"
SMALL = "--epochs=1 --device=cpu --threads=1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``plate/``, ``field.ome.tif`` and ``model``, an invertible classifier."""
    folder = tmp_path_factory.mktemp("page")
    scenes = simulate(24, size=64)
    for index, label in enumerate(scenes.table["label"]):
        target = folder / "plate" / label / f"{index:02d}.ome.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        write(scenes.image(index), target)
    write(scenes.image(0), folder / "field.ome.tif")
    classifier = why.fit(
        Dataset.open(folder / "plate"),
        "iresnet",
        size=64,
        epochs=1,
        lock="DAPI",
        pixel_maps=False,
        second_network=False,
        network_parameters={"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"},
        device="cpu",
        threads=1,
        on_event=why.quiet,
    )
    classifier.save(folder / "model")
    return folder


def test_the_python_of_the_page_runs(place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    text = PAGE.read_text(encoding="utf-8")
    known: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        quick = re.sub(r"epochs=\d+", "epochs=1", block)
        exec(quick, known)  # noqa: S102 - that it runs is what is tested
    assert known["drawn"].drawn_as == ("treated",) * 8
    assert known["found"].images.shape[0] == 1


def test_the_shell_of_the_page_runs(place, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ napari-why ") for line in block.splitlines()]
    label = why.load("model").predict("field.ome.tif").label
    target = next(name for name in ("diseased", "treated") if name != label)
    for line in lines:
        words = shlex.split(line)
        if words[0].startswith("train-"):
            # the names of the folders that the Python made are taken
            words = [*words, *SMALL.split(), "--overwrite", *narrow(words[0])]
        if words[0] == "counterfactual":
            words += ["--target", target, "--steps=2"]
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0, (line, capsys.readouterr().err)


def narrow(verb: str) -> list[str]:
    if verb == "train-generator":
        return ["--widths=8,4", "--code-dimensions=6"]
    size = [] if verb == "train-translation" else ["--size=64"]
    return ["--widths=4,6", "--discriminator-widths=4,6", *size]


def test_every_figure_of_a_report_is_explained() -> None:
    from napari_why.generation.prediction_report import FIGURES

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in FIGURES)
