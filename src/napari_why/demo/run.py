"""``napari-why demo``: from labelled images to a window, or to files where there is no screen."""

from pathlib import Path

from napari_why.demo.display import has_display, virtual_display
from napari_why.demo.files import summary_lines, write_files
from napari_why.demo.main_job import MainJob, do_main_job
from napari_why.events import (
    Cancelled,
    Finished,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
)

SIMULATED_IMAGES = 280
SIMULATED_SIZE = 128
SEED = 0


def run_demo(
    data: Path | None = None,
    out: Path | None = None,
    window: bool = True,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Do the main job on simulated or given images and show or write what came out.

    Parameters
    ----------
    data : Path, optional
        A data set (:meth:`napari_why.Dataset.open`); without it one is simulated: diseased and
        treated fields with nuclei and mitochondria.
    out : Path, optional
        Folder to write into; ``napari-why-demo`` in the current folder by default.
    window : bool
        Open napari with the result; without a display, or when False, a screenshot of that
        window is written instead.
    on_event, cancelled
        See :mod:`napari_why.events`. Cancelled, nothing is shown.

    Returns
    -------
    Path
        The folder: ``classifier/``, ``image.ome.tif``, one OME-TIFF per map and one of the
        series, each with its record, ``counterfactual.gif``, ``evaluation.json``, ``summary.md``
        and, without a window, ``window.png``.
    """
    from napari_why.datasets import Dataset, simulate

    if data is None:
        dataset = simulate(
            SIMULATED_IMAGES, size=SIMULATED_SIZE, seed=SEED, on_event=on_event, cancelled=cancelled
        )
    else:
        dataset = Dataset.open(data, on_event=on_event, cancelled=cancelled)
    job = do_main_job(dataset, SEED, on_event, cancelled)
    folder = Path("napari-why-demo") if out is None else Path(out)
    write_files(job, folder)
    for line in filter(None, summary_lines(job)):
        on_event(Message(line))
    on_event(Message(f"everything is in {folder}"))
    on_event(Finished(partial=cancelled()))
    if cancelled():
        return folder
    if window and has_display():
        _show_window(job)
    else:
        with virtual_display():
            from napari_why.demo.window import screenshot

            screenshot(job, folder / "window.png")
    return folder


def _show_window(job: MainJob) -> None:
    import napari

    from napari_why.demo.window import show

    show(job)
    napari.run()
