"""The demo's result in a napari window."""

from typing import TYPE_CHECKING, Any

from napari_why.demo.main_job import MainJob

if TYPE_CHECKING:
    from napari import Viewer

WINDOW_SIZE = (1700, 1000)


def show(job: MainJob) -> "Viewer":
    """Open napari with the raw channels, the overlays, and the alpha series with its curve.

    Returns
    -------
    napari.Viewer
        Shown, at the start of the series.
    """
    import napari

    from napari_why.layers import to_layers
    from napari_why.napari_reader import image_layers
    from napari_why.widgets import state_of

    viewer = napari.Viewer(title="napari-why demo", show=False)
    viewer.window.resize(*WINDOW_SIZE)
    raw: list[Any] = []
    for data, options, _ in image_layers(job.image):
        raw.append(viewer.add_image(data, **options))
    for result in job.attributions.values():
        for layer in to_layers(result, raw):
            layer.visible = False
            viewer.add_layer(layer)
    state_of(viewer).classifier = job.classifier
    _, dock = viewer.window.add_plugin_dock_widget("napari-why", "Counterfactual")
    dock.show_result(job.counterfactual, to_layers(job.counterfactual, raw))
    for layer in raw:
        layer.visible = False
    viewer.reset_view()
    viewer.show()
    return viewer
