"""What verbs import to do their work: by processes of their own, since this one has everything."""

import json
import subprocess
import sys
from pathlib import Path

LOADED = """
import json, sys
from napari_why.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


def run(*arguments: object) -> tuple[str, set[str]]:
    """Run the command line, and return what it printed and the modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, set(json.loads(done.stderr))


def test_an_image_is_described_without_torch_and_tables(image: Path) -> None:
    text, loaded = run("inspect", image)
    assert "DAPI; TMRM" in text
    assert "tifffile" in loaded
    assert loaded.isdisjoint({"torch", "pandas", "xarray", "scipy", "skimage", "zarr", "dask"})


def test_a_folder_is_described_without_torch(data: Path) -> None:
    text, loaded = run("inspect", data)
    assert "diseased 12" in text
    assert loaded.isdisjoint({"torch", "skimage", "sklearn", "matplotlib", "xarray", "dask"})


def test_a_prediction_loads_torch_and_neither_its_compiler_nor_what_other_verbs_need(
    model: Path, image: Path
) -> None:
    """Loading an invertible network used to run it without memory, for which torch compiles."""
    text, loaded = run("predict", model, image)
    assert text.startswith("image\tclass\t")
    assert "torch.nn" in loaded
    compiler = {
        "torch._dynamo",
        "torch._inductor",
        "sympy",
        "torch.fx.experimental.symbolic_shapes",
    }
    assert loaded.isdisjoint(compiler)
    others = {
        "torchvision",
        "sklearn",
        "skimage.measure",
        "skimage.filters",
        "captum",
        "matplotlib",
    }
    assert loaded.isdisjoint({*others, "scipy.stats", "scipy.optimize", "scipy.sparse.linalg"})


def test_a_counterfactual_loads_neither_what_draws_nor_what_tests_many_images(
    model: Path, image: Path, tmp_path: Path
) -> None:
    _, loaded = run("counterfactual", model, image, "--steps", 2, "--out", tmp_path / "a.ome.tif")
    assert "napari_why.counterfactuals.transport" in loaded
    others = {"matplotlib", "imageio", "napari_why.attribution", "napari_why.evaluation"}
    assert loaded.isdisjoint({*others, "scipy.stats", "scipy.cluster", "sklearn"})
