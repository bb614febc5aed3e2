"""A classifier that went to another program, or came from one, as lines to be copied."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.options import parameters_of
from napari_why.output.snippet_lines import (
    MODEL,
    Lines,
    Snippet,
    add_image,
    add_model,
    changed_values,
    whole_path,
    write_arguments,
    write_options,
)

if TYPE_CHECKING:
    from napari_why.model import Classifier


def copy_export(
    classifier: "Classifier",
    path: str | Path,
    to: str,
    options: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Snippet:
    """Return an export; it may be written over itself.

    Parameters
    ----------
    classifier : Classifier
    path : str or Path
        What was written.
    to : {"onnx", "bioimageio", "huggingface"}
    options : mapping
        Those of :class:`napari_why.exchange.ExportOptions`, by name.
    about : mapping, optional
        ``attrs`` of the image that it was compared with, where there was one.

    Returns
    -------
    Snippet
    """
    from napari_why.exchange import ExportOptions

    lines = Lines()
    model = add_model(lines, classifier)
    given = changed_values(options, parameters_of(ExportOptions))
    out = whole_path(path)
    words = []
    if about is not None:
        source, read_by = add_image(lines, str(about.get("source", "")), about)
        if read_by:
            lines.comments.append(
                f"# export reads the image as it is, without {' and '.join(read_by)}: save it so first"
            )
        words = [f"--image={source}"]
    positional = [
        "classifier",
        repr(out),
        repr(to),
        *(["image=image"] if about is not None else []),
    ]
    named = {**given, "overwrite": True}
    lines.python += [
        f"written = why.export_model({write_arguments(positional, named)})",
        "print(written.sentence)",
    ]
    lines.words += ["export", model, f"--to={to}", f"--out={out}", *words, *write_options(named)]
    return lines.finish()


def copy_import(path: str | Path, options: Mapping[str, Any], device: str = "cpu") -> Snippet:
    """Return how a classifier of another program was opened; the shell saves it as well.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a package.
    options : mapping
        Those of :class:`napari_why.exchange.ImportOptions`, by name.
    device : str
        Where its network was put; the shell does not keep it there.

    Returns
    -------
    Snippet
    """
    from napari_why.exchange import ImportOptions

    lines = Lines()
    given = changed_values(options, parameters_of(ImportOptions))
    place = whole_path(path)
    named = {**given, **({} if device == "cpu" else {"device": device})}
    lines.python += [
        f"classifier = why.import_model({write_arguments([repr(place)], named)})",
        f"classifier.save({MODEL!r})",
    ]
    lines.words += ["import", place, f"--out={MODEL}", *write_options(given)]
    return lines.finish()
