"""Tasks over executors: each once, whatever dies; a death is blamed on a task that was alone."""

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from threading import Event
from types import SimpleNamespace

import pytest

from napari_why.core import cluster, executors
from napari_why.core.errors import CancellationError, ParameterError, WhyError
from napari_why.core.executors import MOST_IN_VAIN, TASKS_A_WORKER, Engine, compute_each

# What a worker of any kind can be told to do without a module of ours: expressions.
DIE = "__import__('os').kill(__import__('os').getpid(), 9)"


def sums(outcomes):
    return {item.task: item.result for item in outcomes}


def test_one_after_the_other():
    assert sums(compute_each(eval, ["1 + 1", "2 * 3"], Engine())) == {"1 + 1": 2, "2 * 3": 6}
    assert list(compute_each(eval, [], Engine())) == []


def test_processes_do_each_task_once_and_name_the_one_that_kills_them():
    expected = {f"{number} + 1": number + 1 for number in range(6)}
    tasks = list(expected)
    tasks.insert(3, DIE)
    found = list(compute_each(eval, tasks, Engine(workers=2)))
    assert Counter(item.task for item in found) == Counter(tasks)
    lost = {item.task: item.lost for item in found if item.lost}
    assert list(lost) == [DIE]
    assert "died, 2 times and alone" in lost[DIE]
    assert {item.task: item.result for item in found if not item.lost} == expected


def test_processes_that_die_of_everything_end_the_work():
    with pytest.raises(WhyError, match="died in a row and nothing was done"):
        list(compute_each(eval, [DIE] * MOST_IN_VAIN, Engine(workers=1)))


def test_no_more_than_a_window_is_handed_over():
    class Counting(ThreadPoolExecutor):
        waiting = most = 0

        def submit(self, *arguments):
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            future = super().submit(*arguments)
            future.add_done_callback(lambda _: setattr(self, "waiting", self.waiting - 1))
            return future

    with Counting(1) as executor:
        outcomes = compute_each(abs, list(range(50)), Engine(workers=3), executor=executor)
        assert sorted(item.result for item in outcomes) == list(range(50))
    assert executor.most <= 3 * TASKS_A_WORKER


def test_an_error_of_a_task_ends_the_work():
    with pytest.raises(ZeroDivisionError):
        list(compute_each(eval, ["1 / 0", "1"], Engine()))


def test_work_is_stopped_in_its_midst():
    begun, stop = Event(), Event()

    def wait_for_stop(task):
        begun.set()
        assert stop.wait(60)
        raise CancellationError("stopped")

    outcomes = compute_each(
        wait_for_stop, [1, 2, 3], Engine(), cancelled=begun.is_set, on_cancel=stop.set
    )
    assert list(outcomes) == []


def test_a_scheduler_that_is_not_there_is_told_in_words(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(WhyError, match=r"napari-why\[cluster\]"):
        list(compute_each(abs, [1], Engine(scheduler="local")))


def test_a_cluster_of_this_computer():
    pytest.importorskip("distributed")
    engine = Engine(workers=1, scheduler="local")
    assert sums(compute_each(eval, ["1 + 1", "2 + 2"], engine)) == {"1 + 1": 2, "2 + 2": 4}
    with pytest.raises(ZeroDivisionError):
        list(compute_each(eval, ["1 / 0"], engine))


def test_workers_are_counted_anew_after_a_while_and_not_each_time(monkeypatch):
    client, times = SimpleNamespace(status="running", nthreads=lambda: next(counts)), [100.0]
    counts = iter(({"a": 1}, {"a": 1, "b": 2}))
    monkeypatch.setattr(cluster.time, "monotonic", lambda: times[0])
    executor = cluster.ClusterExecutor(client, patience=1)
    assert [executor.count_workers() for _ in range(3)] == [1, 1, 1]
    times[0] += cluster.COUNTED
    assert executor.count_workers() == 3


def test_what_was_done_is_not_lost_where_a_cluster_cannot_be_closed(monkeypatch):
    distributed = pytest.importorskip("distributed")
    close, tried = distributed.LocalCluster.close, []

    def close_badly(self, timeout=None):
        close(self, timeout)
        tried.append(self)
        assert len(tried) > 1, "can only join a started process"  # as of a worker that starts anew

    monkeypatch.setattr(distributed.LocalCluster, "close", close_badly)
    found = compute_each(abs, [-1, -2], Engine(workers=1, scheduler="local"))
    assert {item.task: item.result for item in found} == {-1: 1, -2: 2}
    assert tried


def test_a_cluster_that_has_lost_all_workers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(executors, "PATIENCE", 0)
    monkeypatch.setattr(executors.Pool, "window", 1)
    release = Event()
    with ThreadPoolExecutor(1) as executor:
        pool = executors.Pool(executor, lambda: 0)
        monkeypatch.setattr(Engine, "open", lambda _: nullcontext(pool))
        with pytest.raises(WhyError, match="found no worker for 0 seconds"):
            list(compute_each(lambda _: release.wait(60), [1], Engine()))
        release.set()


# A local cluster that would give up a worker at once, and a task that kills every worker that it gets.
KILLED_AGAIN_AND_AGAIN = f"""
from napari_why.core.executors import Engine, compute_each

if __name__ == "__main__":
    tasks = ["1 + 1", {DIE!r}, "2 + 2"]
    for item in compute_each(eval, tasks, Engine(workers=1, scheduler="local")):
        print(item.task[:5], item.result, item.lost[:36], sep="|")
"""


def test_a_local_worker_that_is_killed_again_and_again_costs_the_task_that_kills_it(tmp_path):
    pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(KILLED_AGAIN_AND_AGAIN)
    impatient = {**os.environ, "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1ms"}
    ended = subprocess.run(
        [sys.executable, str(script)],
        env=impatient,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = "the workers that worked on it died: "
    assert sorted(ended.stdout.splitlines()) == sorted(
        ["1 + 1|2|", "2 + 2|4|", f"{DIE[:5]}|None|{told}"]
    )


# A scheduler that others use too, by its address: of a worker's two tasks one is begun when the work is
# stopped, and ends in good order once it is told; the other one waits there, and is never begun.
STOPPED_IN_ITS_MIDST = """
import sys
from pathlib import Path
from functools import partial
from distributed import LocalCluster
from napari_why.core.executors import Engine, compute_each
from waits import work

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    stop = folder / "stop"
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**settings) as cluster:
        for item in compute_each(
            partial(work, folder),
            ["0", "1", "2", "3"],
            Engine(scheduler=cluster.scheduler_address),
            cancelled=lambda: bool(list(folder.glob("begun-*"))),
            on_cancel=stop.touch,
        ):
            print("result", item.task, item.result)
        # what the caller removes once the work has ended, as it thinks
        stop.unlink()
        print(*sorted(path.name for path in folder.glob("*-*")))
        # the same worker works on, for others
        print(*(item.result for item in compute_each(eval, ["1 + 1"], Engine(scheduler=cluster.scheduler_address))))
        print(*sorted(path.name for path in folder.glob("*-*")))
"""
WAITS = """
import time
from napari_why.core.errors import CancellationError

def work(folder, task):
    (folder / f"begun-{task}").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (folder / "stop").exists():
            time.sleep(1)  # the rest of a field: whoever stops it has to wait for that
            (folder / f"stopped-{task}").touch()
            raise CancellationError("stopped")
        time.sleep(0.01)
    (folder / f"ended-{task}").touch()
    return task
"""


def test_what_a_cluster_has_begun_is_waited_for_when_it_is_stopped(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "script.py").write_text(STOPPED_IN_ITS_MIDST)
    (tmp_path / "seen").mkdir()
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "seen")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["begun-0 stopped-0", "2", "begun-0 stopped-0"]


def hold(folder):
    (folder / "begun").touch()
    while not (folder / "go on").exists():
        time.sleep(0.01)
    return "done"


def test_a_task_that_a_worker_has_begun_is_not_cancelled(tmp_path):
    distributed = pytest.importorskip("distributed")
    local = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.Client(**local) as client,
        cluster.ClusterExecutor(client, 60) as executor,
    ):
        one, two = executor.submit(hold, tmp_path), executor.submit(abs, -1)
        try:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            executor.cancel([one, two])
            assert (one.cancelled(), two.cancelled()) == (False, True)
        finally:
            (tmp_path / "go on").touch()
        assert one.result(60) == "done"


def test_an_executor_whose_cancelled_tasks_go_on_is_refused():
    distributed = pytest.importorskip("distributed")

    class Own(distributed.cfexecutor.ClientExecutor):
        """What somebody derives from it."""

    local = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.Client(**local) as client:
        for executor in (client.get_executor(), Own(client)):
            with pytest.raises(
                ParameterError, match=r"executor: found dask's .*Engine\(scheduler="
            ):
                list(compute_each(abs, [-1], Engine(), executor=executor))
        # what the message advises
        engine = Engine(scheduler=client.scheduler_info()["address"])
        assert sums(compute_each(abs, [-1, -2], engine)) == {-1: 1, -2: 2}


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (
            "__import__('os').kill(__import__('os').getpid(), 9)",
            "2 of them died while they started",
        ),
        ("raise ImportError('no such library')", "no such library"),
    ],
)
def test_workers_that_cannot_start_are_told_and_no_task_is_blamed(
    tmp_path, monkeypatch, death, reason
):
    (tmp_path / "only_here.py").write_text(
        f"import multiprocessing\nif multiprocessing.parent_process():\n    {death}\n\n"
        "def work(task):\n    return task\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "only_here", raising=False)
    work = __import__("only_here").work
    done = []
    with pytest.raises(WhyError, match=f"cannot start .*{reason}.*which loads only_here"):
        done.extend(compute_each(work, [1, 2, 3], Engine(workers=2)))
    assert done == []


def test_workers_elsewhere_that_lack_a_module_are_told(monkeypatch):
    def work(task):
        return task

    work.__module__ = "not_installed_there"
    with ThreadPoolExecutor(1) as executor:
        pool = executors.Pool(executor, lambda: 1, elsewhere=True)
        monkeypatch.setattr(Engine, "open", lambda _: nullcontext(pool))
        with pytest.raises(WhyError, match=r"cannot start .*not_installed_there"):
            list(compute_each(work, [1], Engine()))
        work.__module__ = "math"
        assert sums(compute_each(work, [1], Engine())) == {1: 1}


def test_what_only_waited_with_a_killer_is_not_blamed():
    class KilledWorker(Exception):  # noqa: N818 - as dask calls it
        """What every task that was at the worker gets."""

    tried = Counter()

    def work(task):
        tried[task] += 1
        if task == "killer" or (task == "beside" and tried[task] == 1):
            raise KilledWorker(task)
        return task

    found = {
        item.task: item for item in compute_each(work, ["killer", "beside", "other"], Engine())
    }
    assert {name: item.result for name, item in found.items()} == {
        "killer": None,
        "beside": "beside",
        "other": "other",
    }
    assert "died" in found["killer"].lost


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ParameterError, match="workers: found -1"):
        Engine(workers=-1)


def test_a_partial_of_a_function_is_done_too():
    assert sums(compute_each(partial(pow, 2), [3], Engine())) == {3: 8}
