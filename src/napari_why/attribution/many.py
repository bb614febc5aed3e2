"""Explain many images by one method, made ready once for all of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from napari_why.attribution.context import Given, find_references
from napari_why.attribution.explain import Attribution, ReadyMethod
from napari_why.attribution.targets import Target
from napari_why.core import events
from napari_why.core.errors import MismatchError
from napari_why.model.classifier import describe_images

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.attribution.registry import References
    from napari_why.datasets import Dataset
    from napari_why.images import Source
    from napari_why.model import Classifier


def attribute_many(
    classifier: "Classifier",
    images: "Dataset | Iterable[Source]",
    method: str = "occlusion",
    target: Target | None = None,
    *,
    references: "Dataset | References | None" = None,
    regions: Iterable[ArrayLike] | None = None,
    wrapper: str | None = None,
    wrapper_options: Mapping[str, Any] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **parameters: Any,
) -> Iterator[Attribution]:
    """Explain one image after the other; every map is the one of :func:`attribute`.

    What does not hang on the image is done once: options are checked, images to compare with are read,
    and the classifier's fingerprint, which is made of every weight, is computed. Images are read and
    explained when the loop asks for the next map, so that one is in memory at a time. The classifier
    is to stay as it is until then.

    Each image is a pass of its own: in a batch kernels add up in another order, so that a map would
    hang on which images come with it.

    Parameters
    ----------
    classifier : Classifier
    images : Dataset, or iterable of DataArray, path, or tuple of paths
        Raw intensities with the classifier's channels.
    method, target, references, wrapper, wrapper_options, **parameters
        As of :func:`attribute`; without a target each image's own predicted class is explained.
    regions : iterable of array_like, shapes (H, W), optional
        Labels on the pixels of each image, as many as there are images.
    on_event, cancelled : callable
        One step per image, and within it those of the method. Nothing is shown in the console. When
        cancelled, the map in work is the last one, and says that it is partial.

    Yields
    ------
    Attribution
        In the order of the images.

    Raises
    ------
    ParameterError, UnsupportedNetworkError
        At once, as :func:`attribute` does.
    MismatchError, ImageReadError
        At an image that cannot be read or does not fit; there it ends.

    Examples
    --------
    >>> for found in why.attribute_many(classifier, dataset, "saliency"):  # doctest: +SKIP
    ...     print(found.record.source, found.target, found.score)
    """
    fingerprint = classifier.fingerprint
    ready = ReadyMethod.of(classifier, method, wrapper, wrapper_options, parameters, fingerprint)
    if ready.method.takes("references"):
        listeners: dict[str, Any] = {"on_event": on_event, "cancelled": cancelled}
        references = find_references(ready.method, classifier, references, **listeners)
    total = len(images) if isinstance(images, Sized) else None
    opened = (open_image for _, open_image in describe_images(images))
    # a generator of its own: what is refused is refused by the call, and not by the first map
    return _explain_each(ready, opened, total, target, references, regions, on_event, cancelled)


def _explain_each(
    ready: ReadyMethod,
    opened: "Iterator[Callable[[], DataArray]]",
    total: int | None,
    target: Target | None,
    references: "Dataset | References | None",
    regions: Iterable[ArrayLike] | None,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Iterator[Attribution]:
    on_event(events.Started("explaining images", total))
    labels = None if regions is None else iter(regions)
    complete, done = True, 0
    for open_image in opened:
        complete = not cancelled()
        if not complete:
            break
        own = None if labels is None else _next_labels(labels, done)
        given = Given(references, own)
        found = ready.explain(open_image(), target, given, on_event=on_event, cancelled=cancelled)
        done, complete = done + 1, found.complete
        on_event(events.Advanced(done))
        yield found
        if not complete:
            break
    on_event(events.Finished(partial=not complete))


def _next_labels(labels: Iterator[ArrayLike], done: int) -> ArrayLike:
    try:
        return next(labels)
    except StopIteration:
        raise MismatchError(
            f"regions: found labels for {done} images; expected a label image for each"
        ) from None
