"""A folder of a report: written whole or not at all, over nothing that is not a report."""

import contextlib
import csv
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

#: in results.json, tells a report from other folders
KIND = "nnunet_reca comparison"


class Record(NamedTuple):
    """The JSON file by which a kind of report is told from other folders: its entry ``kind``.

    Where it lists the report's ``files`` as well, only those are ever replaced, and those that a new report no longer
    has are removed. Otherwise the new report's names are replaced.
    """

    file: str
    kind: str

    def read(self, folder: Path) -> dict[str, Any] | None:
        """Content of the record, None where the folder has no report of this kind."""
        try:
            content = json.loads((folder / self.file).read_text(encoding="utf-8"))
            return content if content["kind"] == self.kind else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


COMPARISON = Record("results.json", KIND)


def check_output(output: Path, *, overwrite: bool, record: Record = COMPARISON, but: Path | None = None) -> None:
    """Make sure that a report can be put there.

    Args:
        output: the folder.
        overwrite: whether a report may be replaced.
        record: of the report's kind.
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
    if record.read(output) is None:
        raise ValueError(f"expected --overwrite to replace a report, got {output}, which is not one; choose another")


def usable_output(output: Path, *, overwrite: bool, record: Record = COMPARISON) -> Path:
    """The folder without links and dots, after a look at whether a report can be written there.

    Raises:
        ValueError: if it cannot, or as :func:`check_output`.
    """
    try:
        output = output.expanduser().resolve()
        if output.is_symlink():
            raise RuntimeError("links in a circle")
        check_output(output, overwrite=overwrite, record=record)
        nearest = next(folder for folder in (output, *output.parents) if folder.exists())
        with tempfile.TemporaryDirectory(prefix=".", dir=nearest):
            pass
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{output} cannot be written: {reason}; choose another with -o") from error
    return output


@contextlib.contextmanager
def whole_folder(output: Path, *, overwrite: bool, record: Record = COMPARISON) -> Iterator[Path]:
    """A temporary folder, whose content becomes that of ``output`` when all went well and is removed otherwise.

    A folder that exists is filled and not replaced, as it may be a mount point or somebody's working directory. Of an
    earlier report, entries of the same names go, and the files that its record lists.

    Raises:
        ValueError: as :func:`check_output`, if a file that the earlier record does not list is in the way, or on any
            OSError until the report is in place.
    """
    inside = output.exists()
    name = f".{output.name[:100]}.{os.getpid()}.partial"
    partial = (output if inside else output.parent) / name
    try:
        check_output(output, overwrite=overwrite, record=record)
        partial.mkdir(parents=True)
        yield partial
        check_output(output, overwrite=overwrite, record=record, but=partial)
        if inside:
            _fill(output, partial, _listed(output, record))
        else:
            os.replace(partial, output)
    except OSError as error:
        raise ValueError(f"no report was written to {output}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _listed(output: Path, record: Record) -> set[str] | None:
    """Names that the record of an earlier report lists, nothing outside its folder; None where it lists none."""
    files = (record.read(output) or {}).get("files")
    return None if not isinstance(files, list) else {record.file, *(f for f in files if Path(str(f)).name == f)}


def _fill(output: Path, partial: Path, listed: set[str] | None) -> None:
    """Move all of ``partial`` one level up; what was there under these names comes back if that fails."""
    new = {entry.name for entry in partial.iterdir()}
    foreign = sorted(name for name in new - (listed or new) if (output / name).exists())
    if foreign:
        raise ValueError(f"expected no other files by the names of the report's in {output}, got {foreign}; move them")
    old = partial / ".old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in sorted(new | (listed or set())):
            for source, goal in ((output / name, old / name), (partial / name, output / name)):
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
