"""Segmentations and images through nnU-Net's readers, and what differs between those."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_reca.results.files import read_json

#: relative difference of two spacings that rounding in headers does not explain
SPACING_TOLERANCE = 1e-3


def reader_of(plans: Path) -> Any:
    """nnU-Net's reader of the data that a ``plans.json`` is about.

    Raises:
        ValueError: if it is not installed here.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content = read_json(plans)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return PlansManager(content).image_reader_writer_class()
    except Exception as error:
        raise ValueError(
            f"expected the reader {content.get('image_reader_writer')!r} of {plans} to be installed, "
            f"nnU-Net cannot make it ({type(error).__name__}); install it as for the training"
        ) from error


def is_natural_image(reader: Any) -> bool:
    """Files are photographs: colour channels in one file, spacing in pixels."""
    return type(reader).__name__ == "NaturalImage2DIO"


def distance_unit(reader: Any) -> str:
    """Unit of the reader's spacing."""
    return "px" if is_natural_image(reader) else "mm"


def read_segmentation(reader: Any, file: Path) -> tuple[NDArray[np.integer], list[float] | None]:
    """Label map (D, H, W) in the smallest type that holds it, and its spacing, None where no file tells it.

    Raises:
        ValueError: if the file cannot be read.
        MemoryError: if it does not fit into memory.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # warnings among a progress bar
            data, properties = reader.read_seg(str(file))
        largest = data.max(initial=0)
        kind = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32
        spacing = [float(s) for s in properties["spacing"]] if _has_spacing(reader, file) else None
        return data[0].astype(kind), spacing
    except MemoryError:
        raise
    except Exception as error:  # readers raise whatever their libraries do
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(f"{file} cannot be read: {lines[-1].strip()}") from error  # SimpleITK's reason comes last


def _has_spacing(reader: Any, file: Path) -> bool:
    """A 3D TIFF has its spacing in a JSON file beside it, which nnU-Net does not copy with the references."""
    return type(reader).__name__ != "Tiff3DIO" or file.with_suffix(".json").is_file()


def common_spacing(first: Sequence[float] | None, second: Sequence[float] | None, axes: int) -> list[float]:
    """Spacing of two segmentations of a case, of which one may not know it; 1 where neither does, as in nnU-Net.

    Raises:
        ValueError: if they differ.
    """
    if first and second and not _alike(first, second):
        raise ValueError(
            f"expected the reference's spacing {_shown(first)}, got {_shown(second)}; mend the file's header, "
            "or predict the case again"
        )
    return list(first or second or (1.0,) * axes)


def _alike(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and np.allclose(first, second, rtol=SPACING_TOLERANCE, atol=0)


def _shown(spacing: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in spacing)})"
