"""The findings as JSON, CSV and Markdown."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_reca.explain.attention import View
from nnunet_reca.explain.overlap import Cut

CUT_COLUMNS = ("cut", "object", "dice_to_full_model", "change", "dice_to_reference", "difference_to_full_model")


def view_row(view: View, token_size: Sequence[float]) -> dict[str, Any]:
    """One layer's attention in numbers.

    Args:
        view: the layer.
        token_size: mm along each axis of its map.
    """
    row: dict[str, Any] = {
        "chain": view.chain.name,
        "layer": view.layer + 1,
        "layers": view.chain.depth,
        "heads": len(view.shown.weights),
        "token": list(view.token),
        "token_mm": [round(s, 4) for s in token_size],
        "window": None if view.window is None else list(view.window[0]),
        "shift": None if view.window is None else list(view.window[1]),
        "visible_tokens": int(view.shown.visible.sum()),
    }
    for name, attention in (("carry_on", view.carried), ("carry_off", view.alone)):
        if attention is not None:
            row[name] = {
                "effective_tokens": attention.effective_tokens,
                "mean_distance_mm": _mean_distance(attention.mean, view.token, token_size),
                "on_padding": attention.on_padding,
            }
    row["moved_by_carry"] = view.moved
    return row


def cut_rows(cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """One row per cut and object, with the columns :data:`CUT_COLUMNS`."""
    rows = []
    for cut in cuts:
        for name, score in cut.to_full.items():
            change = None if score is None else 1 - score
            reference = None if cut.to_reference is None else cut.to_reference[name]
            gain = None if cut.gain is None else cut.gain[name]
            rows.append(dict(zip(CUT_COLUMNS, (cut.name, name, score, change, reference, gain), strict=True)))
    return rows


def write_tables(folder: Path, facts: Mapping[str, Any], views: Sequence[dict[str, Any]], cuts: Sequence[Cut]) -> None:
    """Write explain.json, explain.md and, where there are cuts, cuts.csv."""
    content = {**facts, "attention": views, "cuts": cut_rows(cuts)}
    (folder / "explain.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "explain.md").write_text(_markdown(facts, views, cuts))
    if cuts:
        with (folder / "cuts.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, CUT_COLUMNS)
            writer.writeheader()
            writer.writerows(cut_rows(cuts))


def _markdown(facts: Mapping[str, Any], views: Sequence[dict[str, Any]], cuts: Sequence[Cut]) -> str:
    lines = [f"# Where the network looks: {facts['case']}", "", *(f"- {k}: {_text(v)}" for k, v in facts.items()), ""]
    lines += ["## Attention of the token that holds the voxel", ""]
    names = ["layer", "heads", "window (shift)", "tokens seen", "effective tokens", "mean distance (mm)", "moved by Q̂"]
    lines += _header(names)
    for row in views:
        window = "all tokens" if row["window"] is None else f"{_text(row['window'])} ({_text(row['shift'])})"
        pairs = [row[key] for key in ("carry_on", "carry_off") if key in row]
        effective = " / ".join(f"{pair['effective_tokens']:.1f}" for pair in pairs)
        distance = " / ".join(f"{pair['mean_distance_mm']:.2f}" for pair in pairs)
        layer = f"{row['chain']}, layer {row['layer']} of {row['layers']}"
        cells = [layer, row["heads"], window, row["visible_tokens"], effective, distance, _text(row["moved_by_carry"])]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Two numbers are with the carry / without it: the whole chain without it, from the same input.", ""]
    lines += ["Moved: the share of attention that goes to other tokens.", ""]
    if not cuts:
        return "\n".join([*lines, "This is a self-attention network: it has no carry, so that none can be cut.", ""])
    lines += ["## Predictions with the carry cut", "", *_header(list(CUT_COLUMNS))]
    lines += [f"| {' | '.join(_text(v) for v in row.values())} |" for row in cut_rows(cuts)]
    return "\n".join([*lines, "", "A dash: neither segmentation has the object, or there is no reference.", ""])


def _header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _mean_distance(weights: Any, token: Sequence[int], token_size: Sequence[float]) -> float:
    """Mean distance of the attention from its token, in mm."""
    distances = 0.0
    for axis, (place, size) in enumerate(zip(token, token_size, strict=True)):
        offsets = ((weights.new_tensor(range(weights.shape[axis])) - place) * size) ** 2
        distances = distances + offsets.reshape([-1 if a == axis else 1 for a in range(weights.ndim)])
    mean = (weights * distances**0.5).sum() / weights.sum()
    return float(mean) if math.isfinite(mean) else 0.0
