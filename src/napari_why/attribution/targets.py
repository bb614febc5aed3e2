"""What a map explains: the score of a class, of one class rather than another, an embedding, a similarity.

Every method is written for one column of a network's logits. A target that is no class is explained by
the same methods through :class:`TargetNetwork`, whose only column is that target's score.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_why.attribution.registry import References
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.images import how_read
from napari_why.model.classifier import find_class
from napari_why.networks.network import Network, refuse_black_box

if TYPE_CHECKING:
    import xarray as xr

    from napari_why.model import Classifier


@dataclass(frozen=True)
class Contrast:
    """One class rather than another: the difference of their logits.

    What both classes share (that there are cells at all) adds to both logits and cancels.

    Parameters
    ----------
    target, against : str or int
        Classes by name or index.
    """

    target: str | int
    against: str | int


@dataclass(frozen=True)
class EmbeddingCoordinate:
    """One number of the embedding: a feature map of the last layer, averaged over its positions.

    Parameters
    ----------
    index : int
        From 0.
    """

    index: int


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike two images are to the network: the cosine of the angle between their embeddings.

    Chen et al. 2020, arXiv:1911.09214, explain embeddings by their similarity.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
        The other image, raw.
    """

    image: "xr.DataArray"


Target = str | int | Contrast | EmbeddingCoordinate | Similarity


class Readout(nn.Module):
    """A score read from a network's outputs by weights: score = sum_k w_k(o) o_k.

    Parameters
    ----------
    weights : Tensor, shape (K,)
    embedded : bool
        The outputs are the embedding, not the logits.
    by_length : bool
        The weights are divided by the length of the outputs, as for a cosine.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, *, embedded: bool, by_length: bool = False) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.embedded, self.by_length = embedded, by_length

    def of(self, outputs: Tensor) -> Tensor:
        """Return the weights, (1, K) or (N, K), that these outputs (N, K) are read with."""
        if not self.by_length:
            return self.weights[None]
        # of a map of zeros: no direction, and a similarity of 0
        lengths: Tensor = outputs.norm(dim=1, keepdim=True)
        return torch.div(self.weights, lengths.clamp(min=SHORTEST))

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the scores (N, 1) of outputs (N, K)."""
        return (self.of(outputs) * outputs).sum(dim=1, keepdim=True)


# Far below the length of any embedding; divided by it, a float32 is still finite.
SHORTEST = 1e-12


class TargetNetwork(Network):
    """A network with one output: the score of a target that is no class.

    It shares the modules, the layers and the locks of the network that is explained.

    Parameters
    ----------
    network : Network
    readout : Readout
    """

    def __init__(self, network: Network, readout: Readout) -> None:
        super().__init__()
        self.network, self.readout = network, readout
        self.use, self.name = network.use, network.name
        self.input_channels, self.classes = network.input_channels, 1
        self.black_box = network.black_box
        self.eval()

    def encode(self, x: Tensor) -> Tensor:
        """Return the network's last feature maps."""
        return self.network.encode(x)

    def head(self, features: Tensor) -> Tensor:
        """Return the target's score (N, 1)."""
        score: Tensor = self.readout(self.outputs(features))
        return score

    def outputs(self, features: Tensor) -> Tensor:
        """Return what the score is read from, (N, K): the logits or the embedding."""
        if self.readout.embedded:
            return features.mean(dim=(2, 3))
        return self.network.head(features)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the network's feature maps."""
        return self.network.feature_maps(x)

    def configuration(self) -> Mapping[str, Any]:
        """Return that of the network."""
        return self.network.configuration()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the network's layers."""
        return self.network.layer_names

    @property
    def located_layer(self) -> str:
        """The network's last layer with positions."""
        return self.network.located_layer

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (1, K) on averaged maps, where the score is linear in them, else None."""
        if self.readout.by_length:
            return None
        if self.readout.embedded:
            return self.readout.weights[None]
        weights = self.network.linear_head_weights
        return None if weights is None else self.readout.weights[None] @ weights


class OutputsOnly(nn.Module):
    """What a target's score is read from, as a network: for rules that start behind the readout.

    Parameters
    ----------
    network : TargetNetwork
    """

    def __init__(self, network: TargetNetwork) -> None:
        super().__init__()
        self.explained = network
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, K) of a batch (N, C, H, W)."""
        return self.explained.outputs(self.explained.encode(x))


def outputs_network(network: Network) -> nn.Module:
    """Return the network whose outputs the score is read from: the network itself, of a class."""
    return OutputsOnly(network) if isinstance(network, TargetNetwork) else network


def share_score(network: Network, outputs: Tensor, column: int) -> Tensor:
    """Return what each output adds to the score.

    Of a class all of it is its logit; of a contrast one logit less the other; the length that a cosine
    is divided by counts as constant.

    Parameters
    ----------
    network : Network
    outputs : Tensor, shape (N, K)
        Of :func:`outputs_network`.
    column : int
        Of the network's logits.

    Returns
    -------
    Tensor, shape (N, K)
        Its sum over K is the score.
    """
    outputs = outputs.detach()
    if isinstance(network, TargetNetwork):
        return network.readout.of(outputs) * outputs
    shares = torch.zeros_like(outputs)
    shares[:, column] = outputs[:, column]
    return shares


@dataclass(frozen=True)
class Explained:
    """A target, found: the network and column that explain it, and its words.

    ``index`` is the class's among the classifier's classes, None of a target that is no class;
    ``against`` is that of the class it is held against. ``quantity`` is what its score is called in
    units: "logit", "embedding", "similarity". ``asked`` is what a record keeps of a target that is no
    class, to find it again: JSON types.
    """

    network: Network
    column: int
    name: str
    index: int | None = None
    against: int | None = None
    quantity: str = "logit"
    notes: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)


def find_target(classifier: "Classifier", target: Target) -> Explained:
    """Find what a target explains in a classifier.

    Parameters
    ----------
    classifier : Classifier
    target : str, int, Contrast, EmbeddingCoordinate or Similarity
        A class by its name or number, or what is no class.

    Returns
    -------
    Explained

    Raises
    ------
    ParameterError
        An unknown class, a class against itself, or a coordinate that the embedding does not have.
    MismatchError
        The other image does not fit the classifier.
    UnsupportedNetworkError
        An embedding of a network that can be asked for logits alone.
    """
    network, classes = classifier.network, classifier.classes
    if isinstance(target, Contrast):
        first = find_class(classes, target.target)
        second = find_class(classes, target.against, "against")
        if first.index == second.index:
            raise ParameterError(
                f"against: found {second.name}, the target; expected another class"
            )
        weights = torch.zeros(len(classes), device=classifier.device)
        weights[first.index], weights[second.index] = 1.0, -1.0
        return Explained(
            TargetNetwork(network, Readout(weights, embedded=False)),
            0,
            f"{first.name} rather than {second.name}",
            first.index,
            second.index,
            notes=(*first.notes, *second.notes),
            asked={"target": first.name, "against": second.name},
        )
    if isinstance(target, EmbeddingCoordinate | Similarity):
        refuse_black_box(network, "an embedding")
    if isinstance(target, EmbeddingCoordinate):
        size = _embedding_size(classifier)
        if not 0 <= target.index < size:
            raise ParameterError(
                f"embedding: found coordinate {target.index}; expected 0 to {size - 1}, for "
                f"{network.name} embeds images in {size} numbers"
            )
        weights = torch.zeros(size, device=classifier.device)
        weights[target.index] = 1.0
        found = TargetNetwork(network, Readout(weights, embedded=True))
        name = f"embedding coordinate {target.index}"
        asked = {"embedding": target.index}
        return Explained(found, 0, name, quantity="embedding", asked=asked)
    if isinstance(target, Similarity):
        return _find_similarity(classifier, target.image)
    chosen = find_class(classes, target)
    return Explained(network, chosen.index, chosen.name, chosen.index, notes=chosen.notes)


def label_references(explained: Explained, references: References) -> References:
    """Return images to compare with, labelled as the column sees them that explains a target.

    Of a class the labels stay. Of a contrast the target's images get the column's number 0, those of the
    class it is held against 1, and the rest -1: neither. Of what is no class no image gets 0.

    Parameters
    ----------
    explained : Explained
    references : References
        Labelled by class.

    Returns
    -------
    labelled : References
        The same images.
    """
    if explained.index is None:
        return References(references.images, torch.ones_like(references.labels))
    if explained.against is None:
        return references
    labels = torch.full_like(references.labels, -1)
    labels[references.labels == explained.index] = 0
    labels[references.labels == explained.against] = 1
    return References(references.images, labels)


def _embedding_size(classifier: "Classifier") -> int:
    size = classifier.preprocessing.size or PROBED
    device, network = classifier.device, classifier.network
    with torch.no_grad(), network.use.passing():
        maps = network.encode(torch.zeros(1, network.input_channels, size, size, device=device))
    return int(maps.shape[1])


# Pixels: of a network for any size, whose number of feature maps does not depend on it.
PROBED = 64


def _find_similarity(classifier: "Classifier", other: "xr.DataArray") -> Explained:
    network = classifier.network
    with torch.no_grad(), network.use.passing():
        embedding = network.encode(classifier.prepare(other)).mean(dim=(2, 3))[0]
    length = embedding.norm()
    if not bool(torch.isfinite(length)) or length <= SHORTEST:
        raise UnsupportedNetworkError(
            "similarity: the other image's embedding is 0 or not finite, so nothing is more or less "
            "like it; take another image"
        )
    name = f"similarity to {other.attrs.get('source') or 'another image'}"
    readout = Readout(embedding / length, embedded=True, by_length=True)
    asked = {"similar_to": str(other.attrs.get("source", "")), **how_read(other)}
    found = TargetNetwork(network, readout)
    return Explained(found, 0, name, quantity="similarity", asked=asked)
