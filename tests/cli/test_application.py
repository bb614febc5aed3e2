"""The command as a whole: help, version, exit codes, one-line errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_why
from napari_why.attribution import METHODS

VERBS = ("train", "evaluate", "predict", "attribute", "counterfactual", "demo")


def test_the_help_lists_the_verbs(shell) -> None:
    outcome = shell("--help")
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in VERBS)


def test_the_list_of_verbs_is_there_at_once() -> None:
    code = (
        "import sys; from napari_why.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "counterfactual" in done.stdout
    assert {"typer", "napari_why.cli.explain"} <= set(done.stderr.split())
    assert {"torch", "pandas", "xarray", "napari", "numpy"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help(shell, verb: str) -> None:
    outcome = shell(verb, "--help")
    assert outcome.code == 0
    assert f"napari-why {verb}" in outcome.out


def test_the_help_of_attribute_lists_every_method_and_its_options(shell, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    text = " ".join(shell("attribute", "--help").out.split())
    for name, method in METHODS.items():
        assert name in text
        for parameter in method.parameters:
            assert f"--{parameter.name.replace('_', '-')}" in text
            assert parameter.help in text


PLUGIN = """
from typing import Annotated
from napari_why.attribution import attribution_method
from napari_why.core.options import Help, Range

@attribution_method(title="Random", source="nobody, never")
def random_map(question, *, strength: Annotated[float, Help("how wild"), Range(0, 9)] = 1.0):
    raise NotImplementedError
"""


def test_a_method_of_another_package_is_offered_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "wild.py").write_text(PLUGIN)
    installed = tmp_path / "wild-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wild\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[napari_why.attributions]\nwild = wild\n")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "2000"}
    done = subprocess.run(
        [sys.executable, "-m", "napari_why.cli", "attribute", "--help"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert "random_map" in done.stdout
    assert "--strength" in done.stdout
    assert "how wild, default 1.0." in done.stdout


def test_the_version_is_that_of_the_package(shell) -> None:
    assert shell("--version").out.split() == ["napari-why", napari_why.__version__]


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain",),
        ("attribute",),
        ("attribute", "model", "image.tif"),
        ("attribute", "model", "image.tif", "--out=a.tif", "--no-such-option=1"),
        ("attribute", "model", "image.tif", "--out=a.tif", "--method=magic"),
        ("attribute", "model", "image.tif", "--out=a.tif", "--window=many"),
        ("attribute", "model", "image.tif", "--out=a.tif", "--window=0"),
        ("train", "data", "--out=model", "--network=perceptron"),
    ],
)
def test_wrong_usage_is_exit_code_2(shell, arguments: tuple[str, ...]) -> None:
    outcome = shell(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "no-such-folder", "--out", "model"),
        ("evaluate", "no-such-model", "no-such-folder"),
        ("predict", "no-such-model", "image.tif"),
        ("attribute", "no-such-model", "image.tif", "--out", "a.tif"),
        ("counterfactual", "no-such-model", "image.tif", "--out", "a.tif"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_exit_code_1(
    shell, tmp_path: Path, monkeypatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = shell(*arguments)
    assert outcome.code == 1
    assert outcome.err.startswith("napari-why: ")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("napari-why")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == napari_why.__version__
