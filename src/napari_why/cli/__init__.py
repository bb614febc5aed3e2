"""The same verbs for the shell: ``napari-why train``, ``predict``, ``attribute`` and so on."""

import sys
from collections.abc import Sequence

FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``napari-why``; those of the process when None.

    Raises
    ------
    SystemExit
        0 ok; 1 something the user can put right, said in one line; 2 wrong usage; 130 interrupted.
    """
    from napari_why.cli.application import application
    from napari_why.core.errors import WhyError

    try:
        application(args=None if arguments is None else list(arguments), prog_name="napari-why")
    except (WhyError, OSError) as error:
        sys.stderr.write(f"napari-why: {' '.join(str(error).split())}\n")
        sys.exit(FAILED)
