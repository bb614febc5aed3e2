"""Reads mutants under limits of memory, in a process of its own that may crash or hang.

    python -m fuzzing.worker FOLDER

Each line of the standard input is a request as JSON: ``{"path": ..., "axes": ..., "sha256": ...}``;
each line of the output says what became of it. Pixels that are not those of the SHA-256 are put
into ``FOLDER/other.npy`` to be judged. Any other exception than the reader's own ends the process.
"""

import hashlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.core.errors import ImageReadError
from napari_why.images import can_read, read

GIBIBYTE = 2**30
ON_LINUX = sys.platform.startswith("linux")


def main() -> None:
    """Answer requests until the input ends."""
    folder = Path(sys.argv[1])
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("limit"):
            limit_memory(GIBIBYTE)
            answer = {"outcome": "limited"}
        else:
            answer = answer_to(request, folder)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def answer_to(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read one mutant, and measure the seconds and bytes it takes."""
    before = resident_after_reset()
    start = time.perf_counter()
    try:
        can_read(request["path"])
        answer = seen(read([request["path"]], axes=request["axes"]), request, folder)
    except ImageReadError as error:
        answer = {"outcome": "refused", "text": str(error), "found": error.found}
        answer["no_memory"] = ran_out_of_memory(error)
    answer["seconds"] = time.perf_counter() - start
    answer["bytes"] = most_resident() - before
    return answer


def seen(image: xr.DataArray, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Say whether an image is the right one; a lazy one is computed as far as its first plane."""
    if not isinstance(image.data, np.ndarray):
        image.data.blocks[(0,) * image.ndim].compute()
        return {"outcome": "lazy", "text": f"{image.dims} {image.shape}"}
    answer = {"outcome": "image", "sha256": digest(image), "notes": list(image.attrs["notes"])}
    answer |= {"dims": list(image.dims), "text": f"{image.dims} {image.shape} {image.dtype}"}
    if answer["sha256"] != request["sha256"]:
        np.save(folder / "other.npy", image.values)
    return answer


def digest(image: xr.DataArray) -> str:
    """Return a hash of axes, shape, type and values."""
    head = f"{image.dims} {image.shape} {image.dtype.str}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image.values).data).hexdigest()


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether a refusal came too late: after an attempt to allocate too much."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return any(isinstance(error, MemoryError) for error in seen)


def limit_memory(more: int) -> None:
    """Let the process take at most ``more`` bytes of addresses than it has now."""
    if ON_LINUX:
        import resource

        now = status_bytes("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def resident_after_reset() -> int:
    """Forget the largest resident size so far, and return the present one."""
    if not ON_LINUX:
        return 0
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status_bytes("VmRSS")


def most_resident() -> int:
    """Return the largest resident size since the last reset."""
    return status_bytes("VmHWM") if ON_LINUX else 0


def status_bytes(name: str) -> int:
    """Return a size of this process as Linux tells it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{name} is not told by /proc/self/status")


if __name__ == "__main__":
    main()
