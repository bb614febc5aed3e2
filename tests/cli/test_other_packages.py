"""Methods of other packages: the examples of docs/extending.md, as they stand there, installed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from napari_why.images import read

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "extending.md"


def examples() -> dict[str, tuple[str, dict[str, dict[str, str]]]]:
    """Code and entry points of every section that has both, by the section's title."""
    found = {}
    for section in DOCUMENTATION.read_text(encoding="utf-8").split("\n## ")[1:]:
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        toml = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
        if code and toml:
            points = tomllib.loads(toml[1])["project"]["entry-points"]
            found[section.partition("\n")[0]] = (code[1], points)
    return found


# Starting takes longer than what is tried.
ONE_AFTER_THE_OTHER = """
import json, sys
from napari_why.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as left:
        if left.code:
            raise
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Run the command line in a fresh Python that finds the examples as installed packages."""
    packages = tmp_path_factory.mktemp("site")
    for title in ("A new attribution method", "A new counterfactual method"):
        code, groups = examples()[title]
        ((group, points),) = groups.items()
        ((name, module),) = points.items()
        (packages / f"{module}.py").write_text(code, encoding="utf-8")
        information = packages / f"{module}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    paths = [str(packages), os.environ.get("PYTHONPATH", "")]

    def start(*calls: tuple[object, ...]) -> str:
        lines = [[str(argument) for argument in call] for call in calls]
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(lines)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "COLUMNS": "200",
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def test_an_attribution_method_is_one_short_file() -> None:
    for title in ("A new attribution method", "A new counterfactual method"):
        assert len(examples()[title][0].splitlines()) <= 30


def test_an_attribution_method_of_another_package_is_offered_and_runs(
    run, model: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "map.ome.tif"
    options = ["--method=smooth_grad", "--copies=3", "--seed=4"]
    offered = run(("attribute", "--help"), ("attribute", model, image, "--out", out, *options))
    assert "smooth_grad" in offered
    assert "noisy copies of the image, default 16" in offered
    written = read(out)
    assert written.shape == (3, 32, 32)
    assert written.values.any()
    assert written.attrs["record"]["seed"] == 4
    assert written.attrs["record"]["parameters"] == {"copies": 3, "noise": 0.1, "seed": 4}


def test_a_counterfactual_method_of_another_package_is_offered_and_runs(
    run, model: Path, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "series.ome.tif"
    options = ["--method=steepest_step", "--steps=3"]
    offered = run(
        ("counterfactual", "--help"), ("counterfactual", model, image, "--out", out, *options)
    )
    assert "steepest_step" in offered
    assert "of the step, of the latent's own length, default 0.5" in offered
    written = read(out)
    assert written.sizes["t"] == 3
