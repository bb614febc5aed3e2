"""Give a classifier to other programs: as an ONNX file, a BioImage.IO package or a Hugging Face folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from zipfile import ZipFile

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.targets import MARK, check_target, try_target
from napari_why.core.whole_files import atomic_path, write_whole
from napari_why.exchange.bioimageio_package import write_bioimageio
from napari_why.exchange.hugging_face import check_push, push, write_hugging_face
from napari_why.exchange.onnx_file import make_onnx
from napari_why.exchange.options import ExportOptions, Format
from napari_why.model.storage import check_place

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.model import Classifier

FORMATS: tuple[Format, ...] = get_args(Format)
# What each is written as; a Hugging Face repository is a folder.
ENDINGS: Mapping[Format, str] = {"onnx": ".onnx", "bioimageio": ".zip", "huggingface": ""}


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Parameters
    ----------
    path : Path
    format : {"onnx", "bioimageio", "huggingface"}
    difference : float or None
        Largest difference of a probability between what was written and the classifier; None of a
        folder, which holds the classifier itself.
    size : (int, int) or None
        Height and width that the graph takes; None where it takes any, and of a folder.
    address : str
        Where it was uploaded to; empty where it was not.
    """

    path: Path
    format: Format
    difference: float | None = None
    size: tuple[int, int] | None = None
    address: str = ""

    @property
    def sentence(self) -> str:
        """What was written and how far it agrees, in words."""
        if self.format == "huggingface":
            return f"{self.path}: " + (
                f"uploaded to {self.address}"
                if self.address
                else "a folder for the Hugging Face Hub"
            )
        size = "any size" if self.size is None else f"{self.size[0]} x {self.size[1]} pixels"
        return (
            f"{self.path}: takes raw grey levels of {size}; its probabilities differ by "
            f"{self.difference:.2g} at most from the classifier's own"
        )


@shows_progress
def export_model(
    classifier: "Classifier",
    path: str | Path,
    to: Format = "onnx",
    options: ExportOptions | Mapping[str, Any] | None = None,
    *,
    image: "DataArray | None" = None,
    push_to: str = "",
    public: bool = False,
    overwrite: bool = False,
    on_event: events.OnEvent = events.ignore_event,
    **changes: Any,
) -> ExportedModel:
    """Write a classifier for other programs.

    ``onnx`` and ``bioimageio`` hold the classifier's prediction alone, from raw grey levels to
    probabilities, compared with the classifier before they are kept. ``huggingface`` holds all of it.

    Parameters
    ----------
    classifier : Classifier
    path : str or Path
        A new file, .onnx or .zip; a new folder for ``huggingface``.
    to : {"onnx", "bioimageio", "huggingface"}
    options : ExportOptions or mapping, optional
        Authors, licence and citation are needed for ``bioimageio``.
    image : DataArray, dims (c, y, x), optional
        To compare with, and for a package's test and cover; by default noise as bright as the training
        images.
    push_to : str
        ``OWNER/NAME`` of a repository on the Hugging Face Hub to upload the folder to, with the token
        in the environment variable ``HF_TOKEN``; empty: nothing is uploaded.
    public : bool
        Whether everybody may see a repository that is new.
    overwrite : bool
        Whether an export that was written here before may be replaced.
    on_event : callable
        See :mod:`napari_why.core.events`.
    **changes
        Fields of the options by name.

    Returns
    -------
    ExportedModel

    Raises
    ------
    ParameterError
        Another format, or something that only the user can say is missing.
    UnsupportedNetworkError
        The network cannot be written as ONNX, or the file gives other probabilities.
    MismatchError
        The image does not fit the classifier.
    OfflineError
        The Hub cannot be reached; the folder is written all the same.
    WhyError
        There is something at ``path``, it cannot be written, or a package of the extra ``exchange`` is
        missing.
    """
    chosen = ExportOptions.of(options, changes)
    target = Path(path)
    _check(target, to, push_to, overwrite=overwrite)
    on_event(events.Started(f"export to {to}"))
    difference, size, address = None, None, ""
    if to == "huggingface":
        write_hugging_face(classifier, target, chosen, overwrite=overwrite)
        if push_to:
            address = push(target, push_to, public=public)
    elif to == "onnx":
        graph = make_onnx(classifier, image, any_size=chosen.any_size)
        write_whole(target, graph.content)
        difference, size = graph.difference, graph.size
    else:
        with atomic_path(target) as part:
            # by its ending a package is known, which the hidden name of a part does not have
            named = part.with_name(f"{part.name}.zip")
            try:
                graph = write_bioimageio(classifier, named, chosen, image)
                with ZipFile(named, "a") as archive:  # by which it is known as one of ours
                    archive.comment = MARK.encode()
                named.replace(part)
            finally:
                named.unlink(missing_ok=True)
        difference, size = graph.difference, graph.size
    on_event(events.Finished())
    return ExportedModel(target, to, difference, size, address)


def _check(target: Path, to: Format, push_to: str, *, overwrite: bool) -> None:
    """Check all that can be before the work."""
    if to not in FORMATS:
        raise ParameterError(f"to: found {to!r}; expected one of {', '.join(FORMATS)}")
    ending = ENDINGS[to]
    if ending and target.suffix.lower() != ending:
        raise WhyError(f"{target}: expected a name that ends in {ending}")
    if push_to and to != "huggingface":
        raise ParameterError(f"push_to: found {to}; expected the format huggingface with it")
    if push_to:
        check_push(push_to)
    if to == "huggingface":
        check_place(target, overwrite=overwrite)
    else:
        check_target(target, overwrite=overwrite)
    try_target(target)
