"""The report's folder: written whole or not at all, over nothing that is not a report."""

import contextlib
import csv
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: in results.json, tells a report from other folders
KIND = "nnunet_reca comparison"


def check_output(output: Path, *, overwrite: bool, but: Path | None = None) -> None:
    """Make sure that a report can be put there.

    Args:
        but: an entry of the folder that does not count.

    Raises:
        ValueError: if that would touch anything that exists, but for a report with ``overwrite``.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise ValueError(f"expected a folder for the report, got the file {output}; choose another with -o")
    if all(entry == but for entry in output.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"expected a new or empty folder, got {output}, which has files; say --overwrite or -o OTHER")
    if not _is_report(output):
        raise ValueError(f"expected --overwrite to replace a report, got {output}, which is not one; choose another")


def usable_output(output: Path, *, overwrite: bool) -> Path:
    """The folder without links and dots, after a look at whether a report can be written there.

    Raises:
        ValueError: if it cannot, or as :func:`check_output`.
    """
    try:
        output = output.expanduser().resolve()
        if output.is_symlink():
            raise RuntimeError("links in a circle")
        check_output(output, overwrite=overwrite)
        nearest = next(folder for folder in (output, *output.parents) if folder.exists())
        with tempfile.TemporaryDirectory(prefix=".", dir=nearest):
            pass
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{output} cannot be written: {reason}; choose another with -o") from error
    return output


@contextlib.contextmanager
def whole_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder, whose content becomes that of ``output`` when all went well and is removed otherwise.

    A folder that exists is filled and not replaced, as it may be a mount point or somebody's working directory. Of an
    earlier report, entries of the same names go.

    Raises:
        ValueError: as :func:`check_output`, or on any OSError until the report is in place.
    """
    inside = output.exists()
    name = f".{output.name[:100]}.{os.getpid()}.partial"
    partial = (output if inside else output.parent) / name
    try:
        check_output(output, overwrite=overwrite)
        partial.mkdir(parents=True)
        yield partial
        check_output(output, overwrite=overwrite, but=partial)
        if inside:
            _fill(output, partial)
        else:
            os.replace(partial, output)
    except OSError as error:
        raise ValueError(f"no report was written to {output}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(output: Path, partial: Path) -> None:
    """Move all of ``partial`` one level up; what was there under these names comes back if that fails."""
    old = partial / ".old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for new in sorted(entry for entry in partial.iterdir() if entry != old):
            target = output / new.name
            for source, goal in ((target, old / new.name), (new, target)):
                if source.exists():
                    os.replace(source, goal)
                    moved.append((source, goal))
    except BaseException:
        for source, goal in reversed(moved):
            os.replace(goal, source)
        raise


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
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return False
