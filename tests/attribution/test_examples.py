"""The examples in docstrings and in docs/attribution.md run."""

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_why.attribution import METHODS

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "attribution.md"


@pytest.mark.parametrize("name", ["class_activation_maps", "occlusion", "registry"])
def test_docstring_examples(name: str, run_examples: Callable[[str], doctest.TestResults]) -> None:
    result = run_examples(f"napari_why.attribution.{name}")
    assert result.attempted > 0
    assert result.failed == 0


IMPORTS = """
from typing import Annotated
from torch import Tensor
from napari_why.attribution import Evidence, attribution_method
from napari_why.attribution.input_gradients import input_gradient
from napari_why.attribution.registry import any_network
from napari_why.networks.network import Network
from napari_why.core.options import Help
"""


def test_the_documented_way_to_add_a_method(case, tmp_path: Path, monkeypatch) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8").split("## Adding a method")[1]
    code = text.split("```python")[1].split("```")[0]
    (tmp_path / "documented_method.py").write_text(IMPORTS + code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("documented_method")
    method = METHODS.pop("squared_gradient")
    maps = method.function(case("cam_net").network, case("cam_net").x, 1).maps
    slope = METHODS["saliency"].function(case("cam_net").network, case("cam_net").x, 1).maps
    torch.testing.assert_close(maps, slope.square())
    assert [parameter.name for parameter in method.parameters] == ["root"]


def test_every_method_is_documented() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for name in METHODS:
        assert f"| `{name}` |" in text
