"""The reference of methods: what the registries know of each, its formula, and what it makes of one image."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_why.attribution import METHODS as ATTRIBUTIONS
from napari_why.core.options import Parameter
from napari_why.core.registry import Method
from napari_why.counterfactuals import METHODS as COUNTERFACTUALS
from site_builder.api import replace_text, write_number
from site_builder.pictures import MethodPictures

FORMULAS = Path(__file__).parent / "formulas.toml"
# The two identifiers that sources of methods are given by.
IDENTIFIERS = {
    r"arXiv:(\d{4}\.\d{4,5})": "https://arxiv.org/abs/{}",
    r"doi:(10\.\d{4,9}/[^\s,;]+)": "https://doi.org/{}",
}
INTRODUCTIONS = {
    "attribution": (
        "# Attribution methods",
        "What each method of [attribution](../attribution.md) makes of one simulated image, with its default "
        "settings. Red speaks for the class, blue against it; every map has a scale of its own. The network was "
        "trained in seconds while this page was built: the pictures show what kind of map to expect, and say "
        "nothing of which method is better. That is measured in [results](../results.md#attribution-on-known-truth).",
    ),
    "counterfactual": (
        "# Counterfactual methods",
        "What each [counterfactual](../counterfactuals.md) method makes of one simulated image: before, after "
        "and the change, at the strength that the method calls its answer. The networks were trained in seconds "
        "while this page was built: the pictures show what kind of change to expect, and say nothing of which "
        "method is better. That is measured in [results](../results.md#counterfactuals-against-known-truth).",
    ),
}


def read_formulas() -> dict[str, dict[str, dict[str, str]]]:
    """Return formula and section of each method, by kind and name."""
    return tomllib.loads(FORMULAS.read_text(encoding="utf-8"))


def write_methods(generated: Path, *, drawn: bool) -> None:
    """Write a page of all attribution methods and one of all counterfactual methods.

    Parameters
    ----------
    generated : Path
        The folder of the pages.
    drawn : bool
        Whether with pictures.

    Raises
    ------
    KeyError
        A method has no formula: it belongs into ``formulas.toml``.
    """
    formulas = read_formulas()
    folder = generated / "methods"
    pictures = MethodPictures(folder)
    registries = {"attribution": ATTRIBUTIONS, "counterfactual": COUNTERFACTUALS}
    for kind, registry in registries.items():
        lines = [*"\n\n".join(INTRODUCTIONS[kind]).splitlines(), ""]
        for name in _in_order(formulas[kind], registry):
            picture = pictures.draw(kind, name) if drawn else "*No picture in a quick build.*"
            lines += _describe(registry[name], formulas[kind][name], picture)
        replace_text(generated / f"{kind}-methods.md", "\n".join(lines))


def _in_order(formulas: Mapping[str, Any], registry: Mapping[str, Method]) -> Iterable[str]:
    """Return the methods of this package: in the order of the formulas, then what these leave out."""
    own = [name for name, method in registry.items() if is_ours(method)]
    return [name for name in formulas if name in own] + [n for n in own if n not in formulas]


def is_ours(method: Method) -> bool:
    """Whether a method is of this package; others that are installed have documents of their own."""
    return method.function.__module__.partition(".")[0] == "napari_why"


def _describe(method: Method, known: Mapping[str, str], picture: str) -> list[str]:
    lines = [
        f"## {method.title}",
        "",
        f"`{method.name}`. {method.summary}",
        "",
        f"> {known['formula']}",
        "",
        picture,
        "",
        f"*Source:* {link_identifiers(method.source)}. *In full:* [its limits](../{known['section']}).",
        "",
    ]
    if method.caution:
        lines += [f":::{{warning}}\n{method.caution}\n:::", ""]
    if method.parameters:
        lines += ["| parameter | default | values | meaning |", "|---|---|---|---|"]
        lines += [_row(item) for item in method.parameters] + [""]
    return lines


def link_identifiers(source: str) -> str:
    """Return a source with its arXiv numbers and DOIs as links.

    Examples
    --------
    >>> link_identifiers("Bach et al. 2015, doi:10.1371/journal.pone.0130140; more")
    'Bach et al. 2015, [doi:10.1371/journal.pone.0130140](https://doi.org/10.1371/journal.pone.0130140); more'
    """
    for pattern, address in IDENTIFIERS.items():
        link = lambda found, address=address: f"[{found[0]}]({address.format(found[1])})"  # noqa: E731
        source = re.sub(pattern, link, source)
    return source


def _row(item: Parameter) -> str:
    values = item.type.__name__
    if item.choices:
        values = ", ".join(f"`{choice}`" for choice in item.choices)
    elif item.low is not None and item.high is not None:
        low, high = (write_number(limit) for limit in (item.low, item.high))
        values = f"{low} to {high} {item.unit}".strip()
    cells = (f"`{item.name}`", f"`{item.default}`", values, item.help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
