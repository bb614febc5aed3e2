"""Show why a classifier calls a microscopy image diseased, treated or healthy.

The public names below are imported on first use, so that ``import napari_why`` stays quick:

>>> import napari_why as why
>>> image = why.read("field.ome.tif")  # doctest: +SKIP
"""

import sys
from typing import TYPE_CHECKING, Any

from napari_why.core.late_imports import import_late
from napari_why.core.torch_loading import load_torch_libraries

if TYPE_CHECKING:  # for editors and type checkers, which read no table and call no __getattr__
    __version__: str
    from napari_why.attribution import Contrast as Contrast
    from napari_why.attribution import EmbeddingCoordinate as EmbeddingCoordinate
    from napari_why.attribution import Similarity as Similarity
    from napari_why.attribution import attribute as attribute
    from napari_why.attribution import attribute_many as attribute_many
    from napari_why.batch import BatchOptions as BatchOptions
    from napari_why.batch import explain_many as explain_many
    from napari_why.core.events import quiet as quiet
    from napari_why.counterfactuals import counterfactual as counterfactual
    from napari_why.datasets import Dataset as Dataset
    from napari_why.datasets import Preprocessing as Preprocessing
    from napari_why.evaluation import class_maps as class_maps
    from napari_why.evaluation import evaluate as evaluate
    from napari_why.evaluation import score_explanation as score_explanation
    from napari_why.evaluation.imbalance import study_imbalance as study_imbalance
    from napari_why.exchange import export_model as export_model
    from napari_why.exchange import import_model as import_model
    from napari_why.fitting.fit import fit as fit
    from napari_why.fitting.fit_channel_predictor import (
        evaluate_channel_predictor as evaluate_channel_predictor,
    )
    from napari_why.fitting.fit_channel_predictor import (
        fit_channel_predictor as fit_channel_predictor,
    )
    from napari_why.fitting.fit_generator import evaluate_generator as evaluate_generator
    from napari_why.fitting.fit_generator import fit_generator as fit_generator
    from napari_why.fitting.fit_translation import fit_flow as fit_flow
    from napari_why.fitting.fit_translation import fit_translation as fit_translation
    from napari_why.generation import activation_maximisation as activation_maximisation
    from napari_why.generation import interpolate as interpolate
    from napari_why.generation import load_channel_predictor as load_channel_predictor
    from napari_why.generation import load_generator as load_generator
    from napari_why.generation import predict_channel as predict_channel
    from napari_why.generation import reconstruct as reconstruct
    from napari_why.generation import sample as sample
    from napari_why.generation import traverse as traverse
    from napari_why.images import read as read
    from napari_why.images import write as write
    from napari_why.latent_space import LatentSpace as LatentSpace
    from napari_why.latent_space import embed as embed
    from napari_why.measurement import find_used_change as find_used_change
    from napari_why.measurement import measure as measure
    from napari_why.measurement import measure_dataset as measure_dataset
    from napari_why.model import Classifier as Classifier
    from napari_why.model import load as load
    from napari_why.output.layers import to_layers as to_layers
    from napari_why.screening import ScreenOptions as ScreenOptions
    from napari_why.screening import screen as screen
    from napari_why.sessions import AttributionSession as AttributionSession
    from napari_why.sessions import CounterfactualSession as CounterfactualSession
    from napari_why.sessions import LatentSession as LatentSession
    from napari_why.sessions.opened_session import open_session as open_session
    from napari_why.sessions.saved_session import save_session as save_session
    from napari_why.simulation import plant as plant
    from napari_why.simulation import simulate as simulate

_PUBLIC = {
    "read": "napari_why.images",
    "write": "napari_why.images",
    "Dataset": "napari_why.datasets",
    "Preprocessing": "napari_why.datasets",
    "simulate": "napari_why.simulation",
    "plant": "napari_why.simulation",
    "Classifier": "napari_why.model",
    "fit": "napari_why.fitting",
    "fit_generator": "napari_why.fitting.fit_generator",
    "evaluate_generator": "napari_why.fitting.fit_generator",
    "fit_channel_predictor": "napari_why.fitting.fit_channel_predictor",
    "evaluate_channel_predictor": "napari_why.fitting.fit_channel_predictor",
    "load_channel_predictor": "napari_why.generation",
    "predict_channel": "napari_why.generation",
    "fit_flow": "napari_why.fitting.fit_translation",
    "fit_translation": "napari_why.fitting.fit_translation",
    "load_generator": "napari_why.generation",
    "quiet": "napari_why.core.events",
    "load": "napari_why.model",
    "export_model": "napari_why.exchange",
    "import_model": "napari_why.exchange",
    "evaluate": "napari_why.evaluation",
    "class_maps": "napari_why.evaluation",
    "score_explanation": "napari_why.evaluation",
    "study_imbalance": "napari_why.evaluation.imbalance",
    "embed": "napari_why.latent_space",
    "LatentSpace": "napari_why.latent_space",
    "attribute": "napari_why.attribution",
    "attribute_many": "napari_why.attribution",
    "Contrast": "napari_why.attribution",
    "EmbeddingCoordinate": "napari_why.attribution",
    "Similarity": "napari_why.attribution",
    "counterfactual": "napari_why.counterfactuals",
    "BatchOptions": "napari_why.batch",
    "explain_many": "napari_why.batch",
    "ScreenOptions": "napari_why.screening",
    "screen": "napari_why.screening",
    "reconstruct": "napari_why.generation",
    "sample": "napari_why.generation",
    "traverse": "napari_why.generation",
    "interpolate": "napari_why.generation",
    "activation_maximisation": "napari_why.generation",
    "find_used_change": "napari_why.measurement",
    "measure": "napari_why.measurement",
    "measure_dataset": "napari_why.measurement",
    "to_layers": "napari_why.output.layers",
    "AttributionSession": "napari_why.sessions",
    "CounterfactualSession": "napari_why.sessions",
    "LatentSession": "napari_why.sessions",
    "open_session": "napari_why.sessions.opened_session",
    "save_session": "napari_why.sessions.saved_session",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


if not TYPE_CHECKING:  # else type checkers would believe in every name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return globals().setdefault(name, _read_version())
        if _PUBLIC.get(name) not in (None, "napari_why.images") and "torch" not in sys.modules:
            load_torch_libraries()
        return import_late(__name__, _PUBLIC, name)


def _read_version() -> str:
    from importlib import metadata  # takes longer than all else that is imported here

    return metadata.version("napari-why")


def __dir__() -> list[str]:
    return __all__
