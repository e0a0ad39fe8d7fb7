"""The tables and pictures of docs/evidence.md, made of the files that ``evidence.py collect`` writes.

    python benchmarks/evidence_report.py tables benchmarks/results/evidence_*.json
    python benchmarks/evidence_report.py differences benchmarks/results/evidence_*.json -o docs/evidence.png
    python benchmarks/evidence_report.py runs benchmarks/results/evidence_NAME.json -o docs/evidence_NAME.png

Models are of this package, and first of them is self-attention.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_reca.report.naming import number
from nnunet_reca.trainers.names import TrainerName, parse_trainer_name
from nnunet_reca.trainers.seeds import split_seed

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
        if -SMALLEST < low and high < SMALLEST:
            return "no difference that matters"
        return "better" if low > 0 else "worse" if high < 0 else "none shown"


@dataclass
class Comparison:
    """One file: a network's models on a data set, self-attention first.

    Attributes:
        title: data set, network and learning rate.
        unit: of HD95.
        models: all of one network, size and learning rate.
        others: differences to other models than self-attention at this rate, or of other trainers, with Dice.
    """

    title: str
    unit: str
    models: list[Model]
    others: list[dict[str, Any]]


def read(file: Path) -> Comparison:
    """A file of ``evidence.py collect``."""
    content = json.loads(file.read_text(encoding="utf-8"))
    names = {model: _parsed(model) for model in content["models"]}
    first, *_ = names
    if len(set(map(_common, names.values()))) > 1 or names[first].recurrent:
        sys.exit(f"expected self-attention, then kinds of carry of one network, size and rate, got {', '.join(names)}")
    pooled = _of_all_cases(content["means"])
    to_first = {row["model"]: row for row in _of_dice(content["differences"]) if row["reference"] == first}
    cut = {split_seed(trainer)[0]: found for trainer, found in content.get("cuts", {}).items()}
    models = []
    for model, name in names.items():
        (means,) = (row for row in pooled if (row["model"], row["run"]) == (model, "all"))
        runs = [100 * row["dice"] for row in pooled if row["model"] == model and row["run"] != "all"]
        models.append(Model(_kind(name), means, runs, to_first.get(model), cut.get(model.split("__")[0], {})))
    others = []
    for also in content.get("also", {}).values():
        dice = {row["model"]: row["dice"] for row in _of_all_cases(also["means"]) if row["run"] == "all"}
        others += [{**row, "dice": dice[row["model"]]} for row in _of_dice(also["differences"])]
    title = f"{content['dataset'].partition('_')[2]}, {_common(names[first])}"
    return Comparison(title, content["unit"], models, others)


def _of_dice(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in differences if (row["metric"], row["label"]) == ("dice", "mean")]


def _of_all_cases(means: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in means if (row["label"], row["fold"]) == ("mean", "pooled")]


def _common(name: TrainerName) -> str:
    """What self-attention and all kinds of carry in one comparison share: network, size and learning rate."""
    return name.network + ("_tiny" if name.options.get("size") == "tiny" else "") + _rate(name)


def _rate(name: TrainerName) -> str:
    rate = name.options.get("learning_rate")
    return f" at {np.format_float_scientific(rate, trim='-', exp_digits=1)}" if rate else ""


def _kind(name: TrainerName) -> str:
    carry = name.options.get("carry")
    kind = "Reca" + (f"_{carry}" if carry else "") + name.options.get("alignment", "")
    return kind if name.recurrent else "self-attention"


def _parsed(model: str) -> TrainerName:
    """Name of a trainer in that of a model."""
    name = parse_trainer_name(model.split("__")[0])
    if name is None:
        sys.exit(f"expected models of this package, got {model}")
    return name


def overview(comparisons: list[Comparison]) -> str:
    """Every kind of carry in every comparison, in one table."""
    head = [
        "data and network",
        "self-attention",
        "without attention",
        "carry",
        "Dice (%)",
        "difference",
        "95 % interval",
    ]
    rows = [[*head, ""]]
    for comparison in comparisons:
        plain, *others = comparison.models
        for model in others:
            own, other = (number(100 * m.means["dice"], 1) for m in (plain, model))
            cut = _points(_cut(plain.cuts.get("cuts", {}), "attention"))
            rows.append([comparison.title, own, cut, model.name, other, *_shown(model.difference), model.verdict()])
    return _table(rows)


def results(comparison: Comparison) -> str:
    """A comparison's models, a row each."""
    unit = f"HD95 ({comparison.unit})"
    rows = [["model", "Dice (%)", "runs", unit, "to self-attention", "95 % interval", "cases better"]]
    for model in comparison.models:
        row = [
            "Reca (the sum)" if model.name == "Reca" else model.name,
            f"{number(100 * model.means['dice'], 1)} ± {number(100 * model.means['sd_over_runs_dice'], 1)}",
            ", ".join(number(run, 1) for run in model.runs),
            number(model.means["hd95"], 1),
        ]
        found = model.difference
        rows.append([*row, *_shown(found), f"{found['wins']} of {found['cases']}" if found else ""])
    return _table(rows)


def cuts(comparison: Comparison) -> str:
    """What cuts take from each model's Dice to the reference, in points; empty where no model was cut."""
    asked = [model for model in comparison.models if model.cuts]
    rows = [["cut", *(model.name for model in asked)]]
    for title, part in CUTS.items():
        rows.append([title, *(_points(_cut(model.cuts["cuts"], part)) for model in asked)])
    return _table(rows) if asked else ""


def _cut(found: dict[str, dict[str, float]], part: str) -> float | None:
    """Change of Dice to the reference by a cut in the whole network, which may have one chain only; None without."""
    chains = [name for name in found if name.startswith(f"{part} of ")]
    whole = f"{part} of all" if f"{part} of all" in found else chains[0] if len(chains) == 1 else None
    return found[whole]["dice_to_reference_change"] if whole else None


def others(comparison: Comparison) -> str:
    """Differences to other models than self-attention, or of other trainers; empty where there are none."""
    rows = [["model", "Dice (%)", "to", "difference", "95 % interval"]]
    for row in comparison.others:
        model, reference = (parse_trainer_name(row[key].split("__")[0]) for key in ("model", "reference"))
        rated = model and reference and _rate(model) != _rate(reference)
        titles = [_kind(name) + _rate(name) * bool(rated) if name else "nnU-Net's own" for name in (model, reference)]
        rows.append([titles[0], number(100 * row["dice"], 1), titles[1], *_shown(row)])
    return _table(rows) if comparison.others else ""


def _shown(difference: dict[str, Any] | None) -> tuple[str, str]:
    """A difference and its 95 % interval, as tables have them; empty without one."""
    if difference is None:
        return "", ""
    return _points(difference["difference"]), f"{_points(difference['low'])} to {_points(difference['high'])}"


def _points(change: float | None) -> str:
    return "" if change is None else number(100 * change, 1, signed=True)


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def tables(comparisons: list[Comparison]) -> str:
    """All tables, under the titles of their comparisons."""
    parts = ["# All", overview(comparisons)]
    for comparison in comparisons:
        parts += [f"# {comparison.title}", results(comparison), others(comparison), cuts(comparison)]
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
    axes.set_xlabel("Dice (points) to self-attention, 95 % interval")
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
    comparisons = [read(file) for file in sorted(arguments.files)]
    if arguments.task == "tables":
        print(tables(comparisons))
        return
    import matplotlib

    matplotlib.use("agg")
    if arguments.task == "runs":
        draw_runs(comparisons[0], arguments.o)
    else:
        draw_differences(comparisons, arguments.o)


if __name__ == "__main__":
    main()
