"""What a classifier knows of itself, as a page for people: how it was made, what it is worth, its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from napari_why.exchange.options import ExportOptions
from napari_why.images import NO_LENGTH
from napari_why.model.classifier import Classifier
from napari_why.model.familiarity import describe_confounding
from napari_why.training.metrics import describe_accuracy

# In the order in which they are believed: the test images chose nothing.
SPLITS = (("test", "Test images"), ("validation", "Validation images, which chose the epoch"))


def model_title(classifier: Classifier, options: ExportOptions) -> str:
    """Return the name of the model: the user's, else of network and classes.

    Parameters
    ----------
    classifier : Classifier
    options : ExportOptions
        Its ``title``, where it has one.

    Returns
    -------
    str
    """
    return options.title or f"{classifier.network.name}: {', '.join(classifier.classes)}"


def model_summary(classifier: Classifier, options: ExportOptions) -> str:
    """Return what the model does in a sentence: the user's, else of classes and channels.

    Parameters
    ----------
    classifier : Classifier
    options : ExportOptions
        Its ``description``, where it has one.

    Returns
    -------
    str
    """
    return options.description or (
        f"Tells microscopy images of {_join(classifier.classes)} apart by the channels "
        f"{_join(classifier.channels)}."
    )


def write_card(classifier: Classifier, options: ExportOptions) -> str:
    """Return the model card in Markdown.

    Nothing in it is made up: what the classifier does not know is said to be not known. Names of files
    and wells that it was trained on are left out.

    Parameters
    ----------
    classifier : Classifier
    options : ExportOptions

    Returns
    -------
    str
    """
    sections = {
        "Input and output": _interface(classifier),
        "Training": _training(classifier),
        "How good it is": _quality(classifier),
        "Limits": _limits(classifier),
        "How to cite": _citation(options),
        "Origin": _origin(classifier),
    }
    parts = [f"# {model_title(classifier, options)}", model_summary(classifier, options)]
    for heading, lines in sections.items():
        said = [line for line in lines if line]
        if said:
            parts.append(f"## {heading}\n\n" + "\n".join(f"- {line}" for line in said))
    return "\n\n".join(parts) + "\n"


def _join(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _interface(classifier: Classifier) -> Iterator[str]:
    size = classifier.preprocessing.size
    yield f"channels, in this order: {_join(classifier.channels)}"
    yield f"classes, in this order: {_join(classifier.classes)}"
    yield "pixels: raw grey levels as the camera wrote them; standardisation is part of the model"
    if size is None:
        yield "size: each image's own"
    else:
        how = {"resize": "reduced to", "crop": "cut to the central", "none": "given as"}
        yield f"size: images are {how[classifier.preprocessing.fit]} {size} x {size} pixels"
    facts = classifier.card.get("images", {})
    if facts.get("pixel_size"):
        yield f"a pixel of the training images is {facts['pixel_size'][1]:.4g} {facts['unit']} wide"
    made_for = classifier.preprocessing.pixel_size
    if made_for != NO_LENGTH:
        yield f"it was made for pixels of {made_for.y:.4g} x {made_for.x:.4g} {made_for.unit}"
    if facts.get("dtypes"):
        yield f"type of the training images' pixels: {', '.join(facts['dtypes'])}"


def _training(classifier: Classifier) -> Iterator[str]:
    card = classifier.card
    yield f"network: {classifier.network.name}"
    dataset = card.get("dataset", {})
    if not dataset:
        yield "on which images it was trained is not known"
        return
    counts = {name: len(paths) for name, paths in card.get("splits", {}).items()}
    yield f"{dataset['images']} images; " + ", ".join(f"{n} {name}" for name, n in counts.items())
    columns = dataset.get("group_columns")
    yield (
        f"images of one {' and '.join(columns)} never stand in two of these parts"
        if columns
        else "images were split one by one: no wells were known"
    )
    training = card.get("training", {})
    if training.get("status"):
        yield f"training {training['status']}; {len(training.get('history', ()))} epochs"
    yield f"fingerprint of the data set: `{dataset['fingerprint']}`"


def _quality(classifier: Classifier) -> Iterator[str]:
    measured = False
    for name, title in SPLITS:
        found = (classifier.metrics.get(name) or {}).get("images")
        if found:
            measured = True
            yield f"{title} ({found['images']}): {describe_accuracy(found)}"
        groups = (classifier.metrics.get(name) or {}).get("groups")
        if groups:
            yield f"{title}, by group ({groups['groups']}): {describe_accuracy(groups)}"
    if not measured:
        yield "not known: no held-out images were measured"


def _limits(classifier: Classifier) -> Iterator[str]:
    yield from describe_confounding(classifier.card)
    yield from map(str, classifier.card.get("notes", ()))
    yield from map(str, classifier.notes)
    yield (
        "made for research, from the images named above; images of another microscope, stain or cell "
        "line may be classified wrongly without a sign of it"
    )


def _citation(options: ExportOptions) -> Iterator[str]:
    where = f"https://doi.org/{options.doi}" if options.doi else options.url
    if options.citation or where:
        yield " ".join(filter(None, [options.citation, where]))


def _origin(classifier: Classifier) -> Iterator[str]:
    card: Mapping[str, Any] = classifier.card
    yield f"fingerprint of the classifier: `{classifier.fingerprint}`"
    if card.get("created"):
        yield f"trained {card['created']}"
    versions = card.get("versions", {})
    if versions:
        yield "with " + ", ".join(f"{name} {version}" for name, version in versions.items())
