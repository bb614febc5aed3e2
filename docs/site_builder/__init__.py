"""Pages that are written out of the code: public names, methods with a picture each, the shell.

A Sphinx extension. It writes into ``docs/generated`` before Sphinx reads the pages, and resolves what
docstrings refer to.
"""

from pathlib import Path
from typing import Any

from site_builder.api import write_api
from site_builder.methods import write_methods
from site_builder.references import resolve_reference
from site_builder.shell import write_shell
from site_builder.windows import write_windows

GENERATED = "generated"
# Behind those of the gallery, which have the default.
AFTER_THE_GALLERY = 900


def write_pages(app: Any) -> None:
    """Write every page that is made out of the code."""
    folder = Path(app.srcdir) / GENERATED
    folder.mkdir(exist_ok=True)
    write_api(folder)
    write_shell(folder)
    write_methods(folder, drawn=not app.config.site_quick)
    write_windows(folder, taken=not app.config.site_quick)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("site_quick", default=False, rebuild="env")
    app.connect("builder-inited", write_pages, priority=AFTER_THE_GALLERY)
    app.connect("missing-reference", resolve_reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
