"""The findings as JSON, CSV and Markdown."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_reca.explain.attention import View
from nnunet_reca.explain.logits import Spread, spread_rows
from nnunet_reca.explain.overlap import Cut
from nnunet_reca.results.output import ReportFolder

FOLDER = ReportFolder("nnunet_reca explanation", "explain.json")
CUT_COLUMNS = (
    "cut",
    "part",
    "chain",
    "object",
    "dice_to_full_model",
    "one_minus_dice",
    "dice_to_reference",
    "dice_to_reference_change",
)


def view_row(view: View, token_size: Sequence[float]) -> dict[str, Any]:
    """One layer's attention in numbers.

    Args:
        view: the layer.
        token_size: along each axis of its map, in mm or px.
    """
    row: dict[str, Any] = {
        "chain": view.chain.name,
        "layer": view.layer + 1,
        "layers": view.chain.depth,
        "heads": len(view.shown.weights),
        "token": list(view.token),
        "token_size": [round(s, 4) for s in token_size],
        "window": None if view.window is None else list(view.window[0]),
        "shift": None if view.window is None else list(view.window[1]),
        "visible_tokens": int(view.shown.visible.sum()),
    }
    for name, attention in view.parts.items():
        row[name] = {
            "effective_tokens": attention.effective_tokens,
            "mean_distance": _mean_distance(attention.mean, view.token, token_size),
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
            values = (cut.name, cut.part, cut.chain, name, score, change, reference, gain)
            rows.append(dict(zip(CUT_COLUMNS, values, strict=True)))
    return rows


def write_tables(
    folder: Path,
    facts: Mapping[str, Any],
    views: Sequence[dict[str, Any]],
    cuts: Sequence[Cut],
    spreads: Sequence[Spread],
) -> None:
    """Write explain.md, logits.csv, cuts.csv where there are cuts, and explain.json, which names all files."""
    tables = {"logits": spread_rows(spreads), "cuts": cut_rows(cuts)}
    (folder / "explain.md").write_text(_markdown(facts, views, **tables), encoding="utf-8")
    for name, rows in tables.items():
        if rows:
            pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False, encoding="utf-8")
    FOLDER.write_record(folder, {**facts, "attention": views, **tables})


def _markdown(
    facts: Mapping[str, Any],
    views: Sequence[dict[str, Any]],
    logits: Sequence[dict[str, Any]],
    cuts: Sequence[dict[str, Any]],
) -> str:
    lines = [f"# Where the network looks: {facts['case']}", "", *(f"- {k}: {_text(v)}" for k, v in facts.items()), ""]
    lines += ["## Attention of the token that holds the voxel", "", *_attention_table(facts, views), ""]
    if facts["recurrent"]:
        lines += ["Two numbers are with the carry / without it: the whole stage without it, from the same input.", ""]
        lines += ["Moved: the share of attention that goes to other tokens.", ""]
    else:
        lines += ["This is a self-attention network: it has no carry, so that none can be cut.", ""]
    lines += ["## Logits and entropy of every layer, all tokens of the network's input", "", *_table(logits), ""]
    lines += ["Standard deviation over the keys of a query, and entropy over that of uniform attention, on average."]
    if cuts:
        lines += ["", "## Predictions with a part cut", "", *_table(cuts), ""]
        lines += ["Attention: its branch adds nothing. Blocks: the identity in their place. The decoder is left alone."]
        lines += ["", "A dash: neither segmentation has the object, or there is no reference."]
    return "\n".join([*lines, ""])


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [*_header(list(rows[0])), *(f"| {' | '.join(_text(v) for v in row.values())} |" for row in rows)]


def _attention_table(facts: Mapping[str, Any], views: Sequence[dict[str, Any]]) -> list[str]:
    names = ["layer", "heads", "window (shift)", "tokens seen", "effective tokens", f"mean distance ({facts['unit']})"]
    lines = _header([*names, "moved by Q̂"] if facts["recurrent"] else names)
    for row in views:
        window = "all tokens" if row["window"] is None else f"{_text(row['window'])} ({_text(row['shift'])})"
        parts = [row[key] for key in ("carry_on", "carry_off", "self_attention") if key in row]
        effective = " / ".join(f"{part['effective_tokens']:.1f}" for part in parts)
        distance = " / ".join(f"{part['mean_distance']:.2f}" for part in parts)
        layer = f"{row['chain']}, layer {row['layer']} of {row['layers']}"
        cells = [layer, row["heads"], window, row["visible_tokens"], effective, distance]
        if facts["recurrent"]:
            cells.append(_text(row["moved_by_carry"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _mean_distance(weights: Any, token: Sequence[int], token_size: Sequence[float]) -> float:
    """Mean distance of the attention from its token, in the unit of ``token_size``."""
    distances = 0.0
    for axis, (place, size) in enumerate(zip(token, token_size, strict=True)):
        offsets = ((weights.new_tensor(range(weights.shape[axis])) - place) * size) ** 2
        distances = distances + offsets.reshape([-1 if a == axis else 1 for a in range(weights.ndim)])
    mean = (weights * distances**0.5).sum() / weights.sum()
    return float(mean) if math.isfinite(mean) else 0.0
