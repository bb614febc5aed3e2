"""Tables as files: CSV for every program, Parquet with types and units."""

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pandas as pd

from napari_why.core.errors import WhyError
from napari_why.core.record import Record

ENDINGS = (".csv", ".parquet")


def write_table(table: pd.DataFrame, path: str | Path, *, record: Record | None = None) -> Path:
    """Write a table whole or not at all.

    Parameters
    ----------
    table : DataFrame
        Numbers keep all their digits; missing ones are empty cells in CSV.
    path : str or Path
        Ends in .csv (UTF-8) or .parquet; an existing file is replaced. Parquet keeps
        ``table.attrs``, the units.
    record : Record, optional
        How the table was made; written beside it as JSON.

    Returns
    -------
    Path

    Raises
    ------
    WhyError
        Another ending, no such folder, a full disk, or a column that Parquet cannot hold.
    """
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise WhyError(
            f"{target}: found the ending {target.suffix or 'none'!r}; expected "
            f"{' or '.join(ENDINGS)}"
        )
    part = target.with_name(f".{target.stem}.{uuid4().hex[:8]}.part")
    try:
        if target.suffix.lower() == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
        part.replace(target)
        if record is not None:
            target.with_suffix(".json").write_text(record.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise WhyError(
            f"{target}: cannot be written ({error.strerror or error}); make room or choose "
            "another place"
        ) from error
    except (ValueError, TypeError) as error:  # pyarrow's own are ValueErrors
        raise WhyError(
            f"{target}: found a column of mixed types ({error}); expected one type a column; "
            "write .csv"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return target
