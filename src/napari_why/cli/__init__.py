"""The same verbs for the shell: ``napari-why train``, ``predict``, ``attribute`` and so on."""

from functools import partial

from napari_why.cli import (
    batch,
    benchmark,
    classify,
    exchange,
    explain,
    files,
    generate,
    measure,
    screening,
)
from napari_why.cli.application import make_application, run_command

# In the order of the help: from the data to a classifier, to what it is worth and why.
VERBS = (
    classify.TRAIN,
    classify.EVALUATE,
    classify.PREDICT,
    explain.ATTRIBUTE,
    explain.COUNTERFACTUAL,
    batch.EXPLAIN_MANY,
    screening.SCREEN,
    screening.MERGE,
    measure.CLASS_MAPS,
    measure.MEASURE,
    measure.LATENT_SPACE,
    explain.RECONSTRUCT,
    explain.SAMPLE,
    explain.TRAVERSE,
    explain.INTERPOLATE,
    explain.PROTOTYPE,
    generate.TRAIN_GENERATOR,
    generate.INTERPOLATE_CODES,
    generate.TRAIN_TRANSLATION,
    generate.TRAIN_FLOW,
    generate.TRAIN_PREDICTOR,
    generate.PREDICT_CHANNEL,
    exchange.EXPORT,
    exchange.IMPORT,
    files.RERUN,
    benchmark.BENCHMARK,
    files.INSPECT,
    benchmark.DEMO,
)

application = make_application(VERBS)


# What the script and `python -m napari_why.cli` call.
main = partial(run_command, application)

__all__ = ["VERBS", "application", "main"]
