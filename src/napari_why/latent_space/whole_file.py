"""A file that is there as a whole or not at all."""

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from napari_why.errors import WhyError


def write_whole(target: Path, content: bytes) -> Path:
    """Write a file; when that fails, nothing half-written is left and an older one stays.

    Raises
    ------
    WhyError
        It cannot be written (the disk is full, the folder is not there).
    """
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise WhyError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was written; make "
            "room or choose another place"
        ) from error
    return target
