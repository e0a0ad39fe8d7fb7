"""Overlay of reference and prediction for the worst, the median and the best case of a prediction folder."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

#: Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7"]


def draw_overlay(data: Path, predictions: Path, labels: dict[str, int], target: Path) -> Path:
    """Draw image, reference, prediction and disagreement, one case a row.

    Args:
        data: nnU-Net raw data set with ``imagesTs`` and ``labelsTs``.
        predictions: folder of predictions with nnU-Net's ``summary.json``.
        labels: name -> value of the labels.
        target: PNG to write.

    Returns:
        ``target``.
    """
    cases = _ranked_cases(predictions)
    chosen = [("worst", cases[0]), ("median", cases[len(cases) // 2]), ("best", cases[-1])]
    figure, rows = plt.subplots(len(chosen), 4, figsize=(11, 8.6), facecolor="white")
    for axes, (rank, (dice, name)) in zip(rows, chosen, strict=True):
        image = _read(next((data / "imagesTs").glob(f"{name}_0000.*")))
        reference = _read(next((data / "labelsTs").glob(f"{name}.*"))).astype(int)
        prediction = _read(next(p for p in predictions.glob(f"{name}.*") if p.suffix != ".json")).astype(int)
        index = int((reference > 0).sum(axis=(1, 2)).argmax())
        _draw_row(axes, image[index], reference[index], prediction[index], labels)
        axes[0].set_ylabel(f"{rank}: {name}\nmean Dice {dice:.3f}, slice {index}", fontsize=10)
    for axis, title in zip(rows[0], ("MRI", "reference", "prediction", "disagreement"), strict=True):
        axis.set_title(title, fontsize=12)
    handles = [Patch(color=c, label=n) for n, c in zip(labels, COLOURS, strict=False)]
    handles.append(Patch(color="#D55E00", label="reference and prediction differ"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(target, dpi=130)
    plt.close(figure)
    return target


def _ranked_cases(predictions: Path) -> list[tuple[float, str]]:
    summary = json.loads((predictions / "summary.json").read_text(encoding="utf-8"))
    cases = []
    for case in summary["metric_per_case"]:
        dice = float(np.nanmean([metrics["Dice"] for metrics in case["metrics"].values()]))
        cases.append((dice, Path(case["prediction_file"]).name.split(".")[0]))
    return sorted(cases)


def _read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def _draw_row(
    axes: np.ndarray, image: np.ndarray, reference: np.ndarray, prediction: np.ndarray, labels: dict[str, int]
) -> None:
    low, high = np.percentile(image, (1, 99))
    for axis in axes:
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis, segmentation in ((axes[1], reference), (axes[2], prediction)):
        _draw_labels(axis, segmentation, labels)
    _draw_mask(axes[3], reference != prediction, "#D55E00", 0.75)
    axes[3].contour(reference > 0, levels=[0.5], colors="white", linewidths=0.8)


def _draw_labels(axis: Axes, segmentation: np.ndarray, labels: dict[str, int]) -> None:
    for value, colour in zip(labels.values(), COLOURS, strict=False):
        mask = segmentation == value
        _draw_mask(axis, mask, colour, 0.4)
        if mask.any():
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.6)


def _draw_mask(axis: Axes, mask: np.ndarray, colour: str, alpha: float) -> None:
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = matplotlib.colors.to_rgba(colour, alpha)
    axis.imshow(layer, interpolation="nearest")
