"""The report's folder: checked before the work, filled at its end; what is not the report's is never touched."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: in RECORD, tells a report from other folders
KIND = "nnunet_reca explanation"
#: names all files of a report
RECORD = "explain.json"


def check_output(output: Path, *, overwrite: bool) -> None:
    """Make sure that a report can be put there.

    Raises:
        ValueError: if that is no folder, cannot be written, or has files, but for a report with ``overwrite``.
    """
    place = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        reason = "not writable" if place.is_dir() else "a file"
        raise ValueError(f"expected a folder that can be written, got {output}: {place} is {reason}; choose another")
    if place != output or not any(output.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"expected an empty folder, got {output}; say --overwrite or choose another")
    if _files_of_report(output) is None:
        raise ValueError(f"expected --overwrite to replace a report, got {output}, which is not one; choose another")


@contextlib.contextmanager
def report_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write to, whose files take the place of an earlier report's in ``output`` when all went well.

    Raises:
        ValueError: as :func:`check_output`, or if a file that is not the report's is in the way.
    """
    check_output(output, overwrite=overwrite)
    new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".partial_", dir=output) as partial:
            yield Path(partial)
            _move(Path(partial), output)
    finally:
        if new:
            with contextlib.suppress(OSError):  # it has files
                output.rmdir()


def _move(partial: Path, output: Path) -> None:
    earlier = {RECORD, *(_files_of_report(output) or ())}
    files = {file.name for file in partial.iterdir()}
    foreign = sorted(name for name in files - earlier if (output / name).exists())
    if foreign:
        raise ValueError(f"expected no other files by the names of the report's in {output}, got {foreign}; move them")
    for name in sorted(files):
        os.replace(partial / name, output / name)
    for name in earlier - files:
        (output / name).unlink(missing_ok=True)


def _files_of_report(folder: Path) -> list[str] | None:
    """Names of a report's files, None where there is none."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if content["kind"] == KIND:
            return [name for name in content["files"] if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
