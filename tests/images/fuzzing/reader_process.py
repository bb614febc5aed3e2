"""The worker process as seen from outside: asked, timed, ended when it hangs, started again."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

SECONDS = 5.0
SECONDS_TO_START = 600.0
HERE = Path(__file__).parents[1]


class ReaderProcess:
    """A worker that reads one file after another.

    Parameters
    ----------
    folder : Path
        Where it may write.
    warm_up : list of requests
        What is read before memory is limited, so that libraries count for nothing.
    seconds : float
        After which a read counts as hanging.
    module : str
        The worker.
    """

    def __init__(
        self,
        folder: Path,
        warm_up: list[dict[str, Any]],
        seconds: float = SECONDS,
        module: str = "fuzzing.worker",
    ) -> None:
        self.folder, self.warm_up = folder, warm_up
        self.seconds, self.module = seconds, module
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the worker's answer; "hangs", "crashed" or "raised" where it gives none."""
        if self.process is None:
            self._start()
        return self._answer(request, self.seconds)

    def end(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> None:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        with (self.folder / "errors.txt").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": path},
            )
        for request in (*self.warm_up, {"limit": True}):
            answer = self._answer(request, SECONDS_TO_START)
            if answer["outcome"] not in ("image", "limited"):
                raise RuntimeError(f"the worker does not start: {answer}")

    def _answer(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        start = time.perf_counter()
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        outcome = self._end_of_process(hanging=not ready)
        return outcome | {"seconds": time.perf_counter() - start, "bytes": 0}

    def _end_of_process(self, *, hanging: bool) -> dict[str, Any]:
        """Tell how the worker ended: a hang, a Python exception or a crash."""
        assert self.process is not None
        code = None if hanging else self.process.wait()
        self.end()
        text = (self.folder / "errors.txt").read_text("utf-8", "replace")[-1500:]
        if hanging:
            return {"outcome": "hangs", "text": f"no answer after {self.seconds} s"}
        return {
            "outcome": "raised" if "Traceback" in text else "crashed",
            "text": f"{code}: {text}",
        }
