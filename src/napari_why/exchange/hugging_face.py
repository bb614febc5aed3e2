"""A classifier as a folder for the Hugging Face Hub: its own files, a model card, and a configuration.

The weights are safetensors, which hold numbers alone. What is in the folder is what
:func:`napari_why.load` reads, so whoever downloads it has the classifier.
"""

import json
import os
from pathlib import Path
from typing import Any

from napari_why.core.errors import OfflineError, ParameterError, WhyError, reason_of
from napari_why.core.optional_packages import require
from napari_why.exchange.model_card import model_title, write_card
from napari_why.exchange.options import ExportOptions
from napari_why.model.classifier import Classifier
from napari_why.training.metrics import describe_accuracy

CARD_FILE, CONFIG_FILE = "README.md", "config.json"
TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable
TAGS = ("napari", "microscopy", "biology", "explainable-ai", "counterfactual")


def write_hugging_face(
    classifier: Classifier, folder: Path, options: ExportOptions, *, overwrite: bool = False
) -> None:
    """Write a classifier, its card and its configuration into a folder.

    Parameters
    ----------
    classifier : Classifier
    folder : Path
    options : ExportOptions
    overwrite : bool
        Whether a classifier that is saved there may be replaced.

    Raises
    ------
    WhyError
        It cannot be written.
    """
    text = write_metadata(classifier, options) + write_card(classifier, options) + _usage()
    config = json.dumps(describe_config(classifier), indent=2)
    try:
        saved_in = classifier.folder
        classifier.save(folder, overwrite=overwrite)
        object.__setattr__(classifier, "folder", saved_in)  # a copy to give away is not its home
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    except OSError as error:
        raise WhyError(f"{folder}: cannot be written ({reason_of(error)})") from error


def describe_config(classifier: Classifier) -> dict[str, Any]:
    """Return ``config.json``: the network, its classes as the Hub reads them, the preprocessing."""
    names = list(classifier.classes)
    return {
        "architectures": [classifier.network.name],
        "model_type": "napari-why",
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        **classifier.configuration,
        "fingerprint": classifier.fingerprint,
    }


def write_metadata(classifier: Classifier, options: ExportOptions) -> str:
    """Return the YAML at the top of a card, by which the Hub sorts models.

    Parameters
    ----------
    classifier : Classifier
        Its accuracy on test images is told, where it was measured.
    options : ExportOptions
        Title and licence.

    Returns
    -------
    str
        Without the dashes around it.
    """
    yaml = require("yaml", "exchange", "model cards")
    metadata: dict[str, Any] = {
        **({"license": options.licence.lower()} if options.licence else {}),
        "library_name": "napari-why",
        "pipeline_tag": "image-classification",
        "tags": list(TAGS),
    }
    found = (classifier.metrics.get("test") or {}).get("images")
    if found:
        metadata["metrics"] = ["accuracy"]
        metadata["model-index"] = [
            {
                "name": model_title(classifier, options),
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "type": "private",
                            "name": "held-out images of the training data",
                            "split": "test",
                        },
                        "metrics": [
                            {
                                "type": "accuracy",
                                "value": found["accuracy"],
                                "name": describe_accuracy(found),
                            }
                        ],
                    }
                ],
            }
        ]
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n"


def _usage() -> str:
    return (
        "\n## Use\n\n```python\nimport napari_why as why\n\n"
        'classifier = why.load("FOLDER")  # where this repository was downloaded to\n'
        'print(classifier.predict("field.ome.tif").probabilities)\n```\n'
    )


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Upload a folder to the Hub, into a new repository or as a new commit of one.

    Parameters
    ----------
    folder : Path
        By :func:`write_hugging_face`.
    repository : str
        ``OWNER/NAME``.
    public : bool
        Whether a new repository can be seen by everybody.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ParameterError
        No such name, or no token in the environment variable ``HF_TOKEN``.
    OfflineError
        The Hub cannot be reached; the folder is there all the same.
    WhyError
        The Hub refuses it.
    """
    check_push(repository)
    hub = require("huggingface_hub", "exchange", "the Hugging Face Hub")
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    interface = hub.HfApi(token=os.environ[TOKEN])
    try:
        interface.create_repo(repository, private=not public, exist_ok=True)
        return str(interface.upload_folder(repo_id=repository, folder_path=folder).commit_url)
    except HfHubHTTPError as error:
        raise WhyError(
            f"{repository}: the Hub refused it ({reason_of(error):.300}); the folder {folder} is "
            "complete; check name and rights of the token"
        ) from error
    except (OSError, OfflineModeIsEnabled, RuntimeError) as error:
        raise _offline(repository, folder, error) from error
    except Exception as error:
        # what its transport raises is of a package that differs between its versions (requests, httpx)
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore", "requests"):
            raise
        raise _offline(repository, folder, error) from error


def _offline(repository: str, folder: Path, error: Exception) -> OfflineError:
    return OfflineError(
        f"{repository}: the Hub cannot be reached ({reason_of(error):.200}); the folder {folder} is "
        f"complete: upload it later with hf upload {repository} {folder}"
    )


def check_push(repository: str) -> None:
    """Check what can be checked of an upload before the work.

    Raises
    ------
    ParameterError
        The name has not the form ``OWNER/NAME``, or there is no token.
    """
    owner, _, name = repository.partition("/")
    if not owner or not name or "/" in name:
        raise ParameterError(f"push: found {repository!r}; expected OWNER/NAME")
    if not os.environ.get(TOKEN):
        raise ParameterError(
            f"push: found no token in the environment variable {TOKEN}; expected one with the right to "
            "write; without it, export to a folder and upload that later"
        )
