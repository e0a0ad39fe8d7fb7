"""The tables and pictures of docs/evidence.md, made of the files that ``evidence.py collect`` writes.

python benchmarks/evidence_report.py tables benchmarks/results/evidence_*.json
python benchmarks/evidence_report.py differences benchmarks/results/evidence_*.json -o docs/evidence.png
python benchmarks/evidence_report.py runs benchmarks/results/evidence_NAME.json -o docs/evidence_NAME.png
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_reca.report.naming import number
from nnunet_reca.trainers.names import PREFIX, parse_trainer_name

#: difference of Dice that would matter, in points
SMALLEST = 0.5
#: of a comparison's tables: what a cut takes away, and how explain calls it
CUTS = {"carry": "carry", "attention": "attention", "all transformer blocks": "blocks"}


@dataclass
class Model:
    """What was found about one model; Dice in percent.

    Attributes:
        name: such as Reca_mean, without network, size, rate and length, which all have in common.
        means: of all cases and runs, as the comparison has them.
        runs: mean Dice of each.
        difference: to self-attention, as the comparison has it; None for self-attention itself.
        cuts: what the first seed loses by cuts, and its layers' logits; empty where it was not asked.
    """

    name: str
    means: dict[str, Any]
    runs: list[float]
    difference: dict[str, Any] | None = None
    cuts: dict[str, Any] = field(default_factory=dict)

    def interval(self) -> tuple[float, float, float]:
        """Difference to self-attention between the bounds of its 95 % interval, in points."""
        assert self.difference is not None
        low, middle, high = (100 * self.difference[key] for key in ("low", "difference", "high"))
        return low, middle, high

    def verdict(self) -> str:
        """What the protocol calls the interval."""
        low, _, high = self.interval()
        if low > 0 or high < 0:
            return "better" if low > 0 else "worse"
        return "no difference that matters" if -SMALLEST < low and high < SMALLEST else "none shown"


@dataclass
class Comparison:
    """One file: a network's models on a data set, self-attention first."""

    title: str
    unit: str
    models: list[Model]


def read(file: Path) -> Comparison:
    """A file of ``evidence.py collect``."""
    content = json.loads(file.read_text(encoding="utf-8"))
    pooled = [row for row in content["means"] if (row["label"], row["fold"]) == ("mean", "pooled")]
    models: dict[str, Model] = {}
    for name in content["models"]:
        (means,) = (row for row in pooled if (row["model"], row["run"]) == (name, "all"))
        runs = [100 * row["dice"] for row in pooled if row["model"] == name and row["run"] != "all"]
        models[name] = Model(_short(name), means, runs)
    first, *_ = models
    for row in content["differences"]:
        if (row["metric"], row["label"], row["reference"]) == ("dice", "mean", first):
            models[row["model"]].difference = row
    for trainer, cuts in content.get("cuts", {}).items():
        for name, model in models.items():
            if _without_seed(trainer) == _without_seed(name.split("__")[0]):
                model.cuts = cuts
    parsed = parse_trainer_name(first.split("__")[0])
    assert parsed is not None, f"expected a model of this package first, got {first}"
    rate = parsed.options.get("learning_rate")
    size = "_tiny" if parsed.options.get("size") == "tiny" else ""
    title = f"{content['dataset'].partition('_')[2]}, {parsed.network}{size}" + (f" at {rate:g}" if rate else "")
    return Comparison(title, "pixels" if first.endswith("__2d") else "mm", list(models.values()))


def _short(name: str) -> str:
    parsed = parse_trainer_name(name.split("__")[0])
    if parsed is None:
        return name.split("__")[0].removeprefix(PREFIX)
    kind = "".join(f"_{parsed.options[key]}" for key in ("carry",) if key in parsed.options)
    return "Reca" + kind + parsed.options.get("alignment", "") if parsed.recurrent else "self-attention"


def _without_seed(trainer: str) -> str:
    return re.sub("_seed[0-9]+", "", trainer)


def overview(comparisons: list[Comparison]) -> str:
    """Every kind of carry in every comparison, in one table."""
    rows = [["data and network", "self-attention", "carry", "Dice (%)", "difference", "95 % interval", ""]]
    for comparison in comparisons:
        plain, *others = comparison.models
        for model in others:
            low, middle, high = (number(value, 1, signed=True) for value in model.interval())
            dice = (number(100 * m.means["dice"], 1) for m in (plain, model))
            own, other = dice
            rows.append([comparison.title, own, model.name, other, middle, f"{low} to {high}", model.verdict()])
    return _table(rows)


def results(comparison: Comparison) -> str:
    """A comparison's models, a row each."""
    unit, runs = comparison.unit, "runs"
    head = ["model", "Dice (%)", runs, f"HD95 ({unit})", "to self-attention", "95 % interval", "cases better"]
    rows = [head]
    for model in comparison.models:
        row = [
            "Reca (the sum)" if model.name == "Reca" else model.name,
            f"{number(100 * model.means['dice'], 1)} ± {number(100 * model.means['sd_over_runs_dice'], 1)}",
            ", ".join(number(run, 1) for run in model.runs),
            number(model.means["hd95"], 1),
        ]
        if model.difference is None:
            row += ["", "", ""]
        else:
            low, middle, high = (number(value, 1, signed=True) for value in model.interval())
            row += [middle, f"{low} to {high}", f"{model.difference['wins']} of {model.difference['cases']}"]
        rows.append(row)
    return _table(rows)


def cuts(comparison: Comparison) -> str:
    """What cuts take from each model's Dice to the reference, in points; empty where no model was cut."""
    asked = [model for model in comparison.models if model.cuts]
    rows = [["cut", *(model.name for model in asked)]]
    for title, part in CUTS.items():
        changes = [_cut(model.cuts["cuts"], part) for model in asked]
        rows.append([title, *("" if change is None else number(100 * change, 1, signed=True) for change in changes)])
    return _table(rows) if asked else ""


def _cut(found: dict[str, dict[str, float]], part: str) -> float | None:
    """Change of Dice to the reference by a cut in the whole network."""
    of = [row for name, row in found.items() if name.startswith(f"{part} of ") and (" all" in name or len(found) <= 3)]
    return of[0]["dice_to_reference_change"] if of else None


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def tables(comparisons: list[Comparison]) -> str:
    """All tables, under the titles of their comparisons."""
    parts = ["# All", overview(comparisons)]
    for comparison in comparisons:
        parts += [f"# {comparison.title}", results(comparison), cuts(comparison)]
    return "\n\n".join(filter(None, parts))


def draw_differences(comparisons: list[Comparison], output: Path) -> None:
    """Difference to self-attention and its 95 % interval, for every kind of carry in every comparison."""
    from matplotlib import pyplot as plt

    rows = [(c.title, model) for c in comparisons for model in c.models if model.difference]
    names = list(dict.fromkeys(model.name for _, model in rows))
    figure, axes = plt.subplots(figsize=(8, 0.7 + 0.27 * len(rows)), layout="constrained")
    axes.axvspan(-SMALLEST, SMALLEST, color="0.9")
    axes.axvline(0, color="0.5", linewidth=0.8)
    labels: list[str] = []
    for place, (title, model) in enumerate(rows):
        (low, middle, high), color = model.interval(), f"C{names.index(model.name)}"
        axes.plot([low, high], [place, place], color=color, linewidth=2)
        axes.plot(middle, place, "o", color=color)
        new = place == 0 or rows[place - 1][0] != title
        labels.append(f"{title}   {model.name}" if new else model.name)
        if new and place:
            axes.axhline(place - 0.5, color="0.85", linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("Dice (points), Recurrent-Attention − self-attention, with its 95 % interval")
    figure.savefig(output, dpi=150)


def draw_runs(comparison: Comparison, output: Path) -> None:
    """Dice of every run beside its model's mean, and the deviation of the logits in every layer of the first seed's."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(3, 2), layout="constrained")
    for row, model in enumerate(comparison.models):
        dice, color = 100 * model.means["dice"], f"C{row}"
        left.plot(model.runs, [row] * len(model.runs), "o", color=color, alpha=0.6)
        left.plot(dice, row, "|", color=color, markersize=22)
        left.text(dice, row - 0.32, number(dice, 1), ha="center", va="bottom", fontsize=8)
        layers = {k: v for k, v in model.cuts.get("logits", {}).items() if not k.endswith("carry_off")}
        deviations = [layer["logits_standard_deviation"] for layer in layers.values()]
        right.plot(range(1, len(deviations) + 1), deviations, "o-", color=color)
    left.set_yticks(range(len(comparison.models)), [model.name for model in comparison.models])
    left.set_ylim(len(comparison.models) - 0.4, -0.6)
    left.set_xlabel("Dice (%), runs and their mean")
    right.set_ylim(bottom=0)
    right.set_xlabel("layer")
    right.set_ylabel("deviation of a query's logits")
    figure.savefig(output, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    for name, many in (("tables", True), ("differences", True), ("runs", False)):
        task = tasks.add_parser(name)
        task.add_argument("files", type=Path, nargs="+" if many else 1)
        if name != "tables":
            task.add_argument("-o", type=Path, required=True)
    arguments = parser.parse_args()
    comparisons = [read(file) for file in arguments.files]
    if arguments.task == "tables":
        print(tables(comparisons))
        return
    import matplotlib

    matplotlib.use("agg")
    draw: Callable[[Path], None] = (
        partial(draw_runs, comparisons[0]) if arguments.task == "runs" else partial(draw_differences, comparisons)
    )
    draw(arguments.o)


if __name__ == "__main__":
    main()
