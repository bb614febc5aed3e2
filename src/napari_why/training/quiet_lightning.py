"""Lightning's trainer without its output, files and hold on the keyboard."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def make_trainer(device: str, epochs: int) -> pl.Trainer:
    """Return a trainer for so many epochs on one device that writes nothing anywhere.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    epochs : int
        Number of epochs to run.
    """
    # advice on data loaders and on GPUs left alone, and a notice to Lightning itself. Filters for
    # good: those of catch_warnings are no thread's own, and a training mostly runs in a thread
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec", module=r"lightning\.")
    kind, _, index = device.partition(":")
    return pl.Trainer(
        accelerator={"cuda": "gpu"}.get(kind, kind),
        devices=[int(index or 0)] if kind == "cuda" else 1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # one process on this machine, also inside a job of a cluster's queue
        plugins=[LightningEnvironment()],
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's loggers inside the block; errors still come as exceptions."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def keyboard_interrupt_kept() -> Iterator[None]:
    """Let Ctrl-C come through as KeyboardInterrupt.

    Lightning answers it by ignoring further ones for the rest of the process and leaving the
    interpreter, which would end a console together with the training.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as leaving:
        if isinstance(leaving.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from leaving
        raise
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def deterministic_cudnn() -> Iterator[None]:
    """Let cuDNN take the same algorithm each time; of no effect without a CUDA device."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
