"""How Sphinx builds the site: `make docs` does it offline, and a warning is an error."""

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
# What is drawn while the site is built asks for no display, and for one core.
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `make docs QUICK=1`: text and links in a minute, without what is computed (examples, pictures, windows).
site_quick = os.environ.get("NAPARI_WHY_SITE") == "quick"

project = "napari-why"
author = copyright = "napari-why developers"  # noqa: A001 - Sphinx's name
version = release = metadata.version("napari-why")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "site_builder",  # after the gallery, whose classifier the pictures of the methods are made with
]
exclude_patterns = ["_build", "examples", "**/GALLERY_HEADER.rst", "gallery/*.ipynb"]
nitpicky = True

# Headings can be linked to as in GitHub: page.md#heading.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# Types stand in the docstrings' Parameters; in signatures of many options they would hide the names.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # names of functions, in place of their addresses
numpydoc_show_class_members = False
add_module_names = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",  # the first one trains the others' classifier
    "plot_gallery": not site_quick,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "reset_modules": ("matplotlib",),
    "image_scrapers": ("site_builder.figures.scrape_figures", "matplotlib"),
}

html_theme = "pydata_sphinx_theme"
html_title = "napari-why"
html_show_sourcelink = False
html_extra_path = ["llms.txt"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}

# Of `make linkcheck`, which goes online: publishers answer programs with 403.
linkcheck_ignore = [r"https://doi\.org/.*"]
linkcheck_anchors = False
