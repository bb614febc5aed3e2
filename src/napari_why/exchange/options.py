"""What only the user can say of a model: who made it, under which licence; what a file leaves open."""

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Options, Range, Suggested, Unit

Format = Literal["onnx", "bioimageio", "huggingface"]
# (name), then in brackets an affiliation
AUTHOR = re.compile(r"\s*([^()]+?)\s*(?:\(([^()]+)\))?\s*")
LICENCES = ("CC-BY-4.0", "CC0-1.0", "MIT", "BSD-3-Clause", "Apache-2.0")


@dataclass(frozen=True)
class Person:
    """An author.

    Parameters
    ----------
    name, affiliation : str
        The affiliation is empty where none was given.
    """

    name: str
    affiliation: str = ""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """What a package says beside what the classifier knows of itself; a plain ONNX file needs nothing.

    Parameters
    ----------
    title : str
        Of the model; by default made of network and classes.
    description : str
        What it is for, in a sentence or two.
    authors : str
        Names with semicolons between, an affiliation in brackets behind each.
    licence : str
        SPDX identifier.
    citation : str
        What to cite, as text.
    doi, url : str
        Where that is to be found: the DOI, or an address.
    any_size : bool
        Let the ONNX graph take images of any size where the network does, and not only those of the
        size that the classifier brings every image to.
    """

    title: Annotated[str, Help("name of the model; empty: made of network and classes")] = ""
    description: Annotated[str, Help("what the model is for, in a sentence or two")] = ""
    authors: Annotated[
        str,
        Help(
            "who made it, with semicolons between, an affiliation in brackets: "
            "Ada Lovelace (University of X); Carl Zeiss"
        ),
    ] = ""
    licence: Annotated[
        str, Help("SPDX identifier of the licence, such as CC-BY-4.0"), Suggested(LICENCES)
    ] = ""
    citation: Annotated[str, Help("what to cite, as text")] = ""
    doi: Annotated[str, Help("DOI of what to cite")] = ""
    url: Annotated[str, Help("address of what to cite, where it has no DOI")] = ""
    any_size: Annotated[
        bool,
        Help(
            "the ONNX graph takes images of any size where the network does, and not only of the size "
            "that the classifier brings every image to"
        ),
    ] = False

    @property
    def people(self) -> tuple[Person, ...]:
        """The authors.

        Raises
        ------
        ParameterError
            A name with a bracket that is not closed.

        Examples
        --------
        >>> ExportOptions(authors="Ada Lovelace (London); Carl Zeiss").people[0]
        Person(name='Ada Lovelace', affiliation='London')
        """
        people = []
        for part in filter(str.strip, self.authors.split(";")):
            found = AUTHOR.fullmatch(part)
            if found is None:
                raise ParameterError(
                    f"authors: found {part.strip()!r}; expected a name, or a name (affiliation)"
                )
            people.append(Person(found[1], found[2] or ""))
        return tuple(people)

    def require(self, names: tuple[str, ...], target: str) -> None:
        """Raise ParameterError, naming all that is missing, unless these were given.

        Parameters
        ----------
        names : tuple of str
        target : str
            What needs them.

        Raises
        ------
        ParameterError
            One of them is empty.
        """
        missing = [name for name in names if not getattr(self, name).strip()]
        if missing:
            raise ParameterError(
                f"{target}: found no {', no '.join(missing)}; expected them, since only you can say who "
                "made the model and under which terms it may be used"
            )


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """What a file of another program leaves open.

    Parameters
    ----------
    classes, channels : str
        Names with commas between, in the order of the outputs and of the input's channels.
    size : int
        Height and width in pixels to which images are brought; 0: that of the file, or each image's
        own.
    sizing : {"resize", "crop", "none"}
        How images are brought to the size.
    mean, std : str
        What is subtracted from raw grey levels and what they are then divided by: a number, or one a
        channel with commas between; empty: what the file says, or 0 and 1.
    outputs : {"auto", "logits", "probabilities"}
        What an ONNX graph gives; ``auto`` asks the step that it ends in.
    output : str
        Which of several outputs of an ONNX graph holds the classes.
    layout : {"auto", "channels_first", "channels_last"}
        Where an ONNX graph has its axis of channels; ``auto`` asks the package, or the lengths of its
        input.
    architecture : str
        Of a state dict: ``torchvision/NAME``, ``timm/NAME``, or a network of this package.
    """

    classes: Annotated[
        str, Help("names of the classes, in the order of the outputs, with commas between")
    ] = ""
    channels: Annotated[
        str, Help("names of the channels, in the order of the input, with commas between")
    ] = ""
    size: Annotated[
        int,
        Help(
            "height and width that images are brought to; 0: that of the file, or each image's own"
        ),
        Range(0, 16384),
        Unit("px"),
    ] = 0
    sizing: Annotated[
        Literal["resize", "crop", "none"],
        Help("how images are brought to the size, if one is given"),
    ] = "resize"
    mean: Annotated[
        str,
        Help(
            "what is subtracted from raw grey levels: one number, or one a channel; empty: what the "
            "file says, or 0"
        ),
    ] = ""
    std: Annotated[
        str,
        Help(
            "what they are then divided by: one number, or one a channel; empty: what the file says, "
            "or 1"
        ),
    ] = ""
    outputs: Annotated[
        Literal["auto", "logits", "probabilities"],
        Help("what an ONNX graph gives; auto: told by the step that it ends in"),
    ] = "auto"
    output: Annotated[
        str, Help("name of the output that holds the classes, where an ONNX graph has several")
    ] = ""
    layout: Annotated[
        Literal["auto", "channels_first", "channels_last"],
        Help("where an ONNX graph has its channels; auto: told by its package, or its input"),
    ] = "auto"
    architecture: Annotated[
        str,
        Help("of a state dict: torchvision/NAME, timm/NAME, or a network of this package"),
        Suggested(("torchvision/resnet18", "timm/convnext_tiny", "cam_net")),
    ] = ""


def options_of(to: Format) -> tuple[str, ...]:
    """Return the names of the export options that a format makes something of.

    Parameters
    ----------
    to : {"onnx", "bioimageio", "huggingface"}

    Returns
    -------
    tuple of str
        In the order of :class:`ExportOptions`.

    Examples
    --------
    >>> options_of("onnx")
    ('any_size',)
    """
    # a graph has no card, and a folder no graph
    of_graph = ("any_size",)
    of_card = tuple(item.name for item in fields(ExportOptions) if item.name not in of_graph)
    return {"onnx": of_graph, "bioimageio": of_card + of_graph, "huggingface": of_card}[to]


def split_numbers(name: str, text: str, count: int) -> tuple[float, ...]:
    """Return a number for each channel of a text with one number, or with one a channel.

    Parameters
    ----------
    name : str
        Of the option, for messages.
    text : str
        With commas between.
    count : int
        Channels.

    Returns
    -------
    tuple of float
        One a channel.

    Raises
    ------
    ParameterError
        No numbers, or another number of them.

    Examples
    --------
    >>> split_numbers("mean", "100", 2), split_numbers("std", "1, 2.5", 2)
    ((100.0, 100.0), (1.0, 2.5))
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(
            f"{name}: found {text!r}; expected numbers with commas between"
        ) from error
    if len(numbers) == 1:
        numbers *= count
    if len(numbers) != count:
        raise ParameterError(
            f"{name}: found {len(numbers)} numbers; expected one, or {count} for as many channels"
        )
    return tuple(numbers)


def split_names(text: str) -> tuple[str, ...]:
    """Return the names that stand in a text with commas between.

    Examples
    --------
    >>> split_names("DAPI, TMRM,")
    ('DAPI', 'TMRM')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())
