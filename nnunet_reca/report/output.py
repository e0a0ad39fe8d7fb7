"""The report's folder: written beside and moved into place whole, over nothing that is not a report."""

import contextlib
import csv
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: in results.json, tells a report from other folders
KIND = "nnunet_reca comparison"


def check_output(output: Path, *, overwrite: bool) -> None:
    """Make sure that a report can be put there.

    Raises:
        ValueError: if that would touch anything that exists, but for a report with ``overwrite``.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise ValueError(f"expected a folder for the report, got the file {output}; choose another with -o")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"expected a new or empty folder, got {output}, which has files; say --overwrite or -o OTHER")
    if not _is_report(output):
        raise ValueError(f"expected --overwrite to replace a report, got {output}, which is not one; choose another")


@contextlib.contextmanager
def whole_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder, which becomes ``output`` when all went well and is removed otherwise.

    Raises:
        ValueError: as :func:`check_output`, or if it cannot be written.
    """
    check_output(output, overwrite=overwrite)
    partial, old = (output.with_name(f".{output.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
    try:
        partial.mkdir(parents=True)
        yield partial
        check_output(output, overwrite=overwrite)
        if output.exists():
            os.replace(output, old)
        os.replace(partial, output)
    except OSError as error:
        raise ValueError(f"{output} cannot be written: {error}") from error
    finally:
        if old.exists() and not output.exists():
            os.replace(old, output)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows under their keys; NaN and None are empty cells."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else ())
        writer.writeheader()
        writer.writerows({key: "" if _missing(value) else value for key, value in row.items()} for row in rows)


def write_json(file: Path, content: Any) -> None:
    """Valid JSON: NaN becomes null."""
    file.write_text(json.dumps(_clean(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _clean(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _clean(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_clean(value) for value in content]
    return None if _missing(content) else content


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _is_report(folder: Path) -> bool:
    try:
        return json.loads((folder / "results.json").read_text())["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return False
