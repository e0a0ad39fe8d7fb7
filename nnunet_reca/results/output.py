"""Folders that we write: whole or not at all, over nothing that is not an earlier one of the same kind."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.results.files import read_json


@dataclass(frozen=True)
class ReportFolder:
    """A kind of folder that we write. Its record, a JSON file, tells it from others and names all that is its own.

    Attributes:
        kind: in the record.
        record: name of the JSON file.
    """

    kind: str
    record: str

    def usable(self, output: Path, *, overwrite: bool) -> Path:
        """The folder without links and dots, after a look at whether it can be written.

        Raises:
            ValueError: if it cannot, or has files and is not an earlier one that ``overwrite`` allows to replace.
        """
        try:
            output = output.expanduser().resolve()
            if output.is_symlink():
                raise RuntimeError("links in a circle")
            self._check(output, overwrite)
            nearest = next(folder for folder in (output, *output.parents) if folder.exists())
            with tempfile.TemporaryDirectory(prefix=".", dir=nearest):
                pass
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"{output} cannot be written: {reason}; choose another with -o") from error
        return output

    @contextlib.contextmanager
    def written(self, output: Path, *, overwrite: bool) -> Iterator[Path]:
        """A temporary folder, whose content becomes that of ``output`` when all went well and is removed otherwise.

        A folder that exists is filled and not replaced, as it may be a mount point or somebody's working directory.
        All that the record of an earlier one names goes; other files stay.

        Raises:
            ValueError: as :meth:`usable`, if somebody's file is in the way, or on any OSError until all is in place.
        """
        inside = output.exists()
        partial = (output if inside else output.parent) / f".{output.name[:100]}.{os.getpid()}.partial"
        try:
            self._check(output, overwrite)
            partial.mkdir(parents=True)
            yield partial
            self._check(output, overwrite, but=partial)
            if inside:
                self._replace(output, partial)
            else:
                os.replace(partial, output)
        except OSError as error:
            raise ValueError(f"nothing was written to {output}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def write_record(self, folder: Path, content: Mapping[str, Any]) -> None:
        """The last file to write, which names all others."""
        names = sorted({self.record, *(entry.name for entry in folder.iterdir())})
        write_json(folder / self.record, {"kind": self.kind, **content, "files": names})

    def _check(self, output: Path, overwrite: bool, but: Path | None = None) -> None:
        """Make sure that nothing is touched that exists, but for an earlier report with ``overwrite``."""
        if not output.exists():
            return
        if not output.is_dir():
            raise ValueError(f"expected a folder for the report, got the file {output}; choose another with -o")
        if all(entry == but for entry in output.iterdir()):
            return
        if not overwrite:
            raise ValueError(
                f"expected a new or empty folder, got {output}, which has files; say --overwrite or -o OTHER"
            )
        if self._own(output) is None:
            raise ValueError(
                f"expected --overwrite to replace a report, got {output}, which is not one; choose another"
            )

    def _own(self, output: Path) -> list[str] | None:
        """Entries of an earlier report, None where there is none."""
        try:
            content = read_json(output / self.record)
            if content["kind"] == self.kind:
                return [name for name in content["files"] if Path(name).name == name]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _replace(self, output: Path, partial: Path) -> None:
        """Move all of ``partial`` one level up in place of the earlier report, which comes back if that fails."""
        new = {entry.name for entry in partial.iterdir()}
        earlier = {self.record, *(self._own(output) or ())}
        foreign = sorted(name for name in new - earlier if (output / name).exists())
        if foreign:
            raise ValueError(
                f"expected no other files by the names of the report's in {output}, got {foreign}; move them"
            )
        aside = partial / ".earlier"
        aside.mkdir()
        moves = [(output / name, aside / name) for name in sorted(earlier)]
        moves += [(partial / name, output / name) for name in sorted(new)]
        done: list[tuple[Path, Path]] = []
        try:
            for source, target in moves:
                if source.exists():
                    os.replace(source, target)
                    done.append((source, target))
        except BaseException:
            for source, target in reversed(done):
                os.replace(target, source)
            raise


def write_json(file: Path, content: Any) -> None:
    """Valid JSON: NaN becomes null."""
    file.write_text(json.dumps(_clean(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _clean(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _clean(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_clean(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
