"""The same verbs for the shell: ``napari-why train``, ``predict``, ``attribute`` and so on."""

from collections.abc import Sequence

from napari_why.cli import benchmark, classify, explain, files, generate, measure
from napari_why.cli.application import make_application, run_command

# In the order of the help: from the data to a classifier, to what it is worth and why.
VERBS = (
    classify.TRAIN,
    classify.EVALUATE,
    classify.PREDICT,
    explain.ATTRIBUTE,
    explain.COUNTERFACTUAL,
    measure.MEASURE,
    measure.LATENT_SPACE,
    generate.RECONSTRUCT,
    generate.SAMPLE,
    generate.TRAVERSE,
    generate.INTERPOLATE,
    files.RERUN,
    benchmark.BENCHMARK,
    files.INSPECT,
    benchmark.DEMO,
)

application = make_application(VERBS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see :func:`~.application.run_command`."""
    run_command(application, arguments)


__all__ = ["VERBS", "application", "main"]
