"""Figures of the gallery that were made without pyplot, as the package makes its own."""

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_shown: "WeakSet[Figure]" = WeakSet()


def scrape_figures(block: Any, block_vars: Any, gallery_conf: Any) -> str:
    """Save every new figure among an example's variables, and return what shows it.

    Runs before the scraper for pyplot, which closes its figures: then they would pass for these.
    """
    del block
    saved = []
    for value in block_vars["example_globals"].values():
        if not isinstance(value, Figure) or value in _shown:
            continue
        _shown.add(value)
        if value.canvas.manager is None:
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=100)
            saved.append(path)
    return figure_rst(saved, gallery_conf["src_dir"])
