"""The garbage collector keeps still while anybody needs it, and goes on afterwards."""

import contextvars
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from napari_why.core.foreign_files import no_doors
from napari_why.core.garbage import no_collection

# Seconds after which a thread that waits for the other one gives up, so that a failure ends.
PATIENCE = 30


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


@pytest.mark.parametrize("still", [no_collection, no_doors])
def test_of_threads_that_overlap_the_last_one_lets_the_collector_go_on(still) -> None:
    first_is_in, second_is_in, first_is_out = Event(), Event(), Event()

    def first() -> None:
        with still():
            first_is_in.set()
            assert second_is_in.wait(PATIENCE)
        first_is_out.set()

    def second() -> bool:
        assert first_is_in.wait(PATIENCE)
        with still():
            second_is_in.set()
            assert first_is_out.wait(PATIENCE)
            return gc.isenabled()

    with ThreadPoolExecutor(2) as threads:
        done, during = threads.submit(first), threads.submit(second)
        done.result()
    assert not during.result()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with no_collection(), no_collection():
        pass
    assert not gc.isenabled()


def test_it_goes_on_where_doors_cannot_be_opened_again() -> None:
    """As of a generator that is ended in another context than the one it began in."""
    doors = no_doors()
    contextvars.copy_context().run(doors.__enter__)
    with pytest.raises(ValueError, match="different Context"):
        doors.__exit__(None, None, None)
    assert gc.isenabled()


def test_it_goes_on_where_closing_doors_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("traceback.walk_stack", interrupt)
    with pytest.raises(KeyboardInterrupt), no_doors():
        raise AssertionError("the doors were closed")
    assert gc.isenabled()


def test_it_goes_on_after_a_slice_of_a_lazy_array() -> None:
    """dask takes the collector for off for good if it was off while dask was imported, as tests may be."""
    import dask.array

    dask.array.ones((4, 4), chunks=2)[1].compute()
    assert gc.isenabled()
