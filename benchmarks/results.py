"""Tables of the committed results: medians over the runs of a case, and their ratios to MONAI's network or to ours.

Reads ``benchmarks/results/step_*.json``; a ratio is the median of the runs' own ratios, and where there are several
runs its range follows. Run: ``python benchmarks/results.py``
"""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
QUANTITIES = {"inference_s": "inference s", "step_s": "training step s", "inference_mib": "MiB", "step_mib": "MiB"}


def rows_by_case() -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Runs of each case, device, precision and compilation."""
    found = defaultdict(list)
    for file in sorted(FOLDER.glob("step_*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        about = (result["device"], result["precision"], "compiled" * result["compile"])
        for row in result["rows"]:
            found[(row["case"], *about)].append(row)
    return found


def cell(rows: list[dict[str, Any]], quantity: str, variant: str, base: str) -> str:
    """Median, and in brackets the ratio to the base."""
    values = [row[quantity][variant] for row in rows if variant in row[quantity]]
    ratios = [row[quantity][variant] / row[quantity][base] for row in rows if {variant, base} <= row[quantity].keys()]
    if not values:
        return "–"
    shown = f"{statistics.median(values):.{3 if quantity.endswith('_s') else 0}f}"
    if not ratios:
        return shown
    spread = f", {min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 and variant != base else ""
    return f"{shown} ({statistics.median(ratios):.2f}{spread})"


def main() -> None:
    for (case, *about), rows in rows_by_case().items():
        variants = dict.fromkeys(v for row in rows for q in QUANTITIES for v in row[q])
        base = "monai" if "monai" in variants else "sa"
        runs = sum(bool(row["inference_s"]) for row in rows)
        print(f"\n{case}, {', '.join(filter(None, about))}, {runs} run{'s' * (runs > 1)}, ratios to {base}\n")
        print(f"| network | {' | '.join(QUANTITIES.values())} |\n|{' --- |' * 5}")
        for variant in variants:
            print(f"| {variant} | {' | '.join(cell(rows, q, variant, base) for q in QUANTITIES)} |")


if __name__ == "__main__":
    main()
