"""All numbers of a report as plain records, for CSV and JSON; in natural units: Dice and NSD from 0 to 1."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_reca.report.content import label_means
from nnunet_reca.report.cost import Cost
from nnunet_reca.report.scores import METRICS, Scores
from nnunet_reca.report.statistics import MEAN, Paired, by_case


def case_records(scores: Scores) -> list[dict[str, Any]]:
    """A record for every model, case and label."""
    return [
        {
            "model": model,
            "fold": fold,
            "case": case,
            "label": label,
            **{metric.key: float(scores.values[metric.key][m, c, n]) for metric in METRICS},
            "one_empty": bool(scores.one_empty[m, c, n]),
        }
        for m, model in enumerate(scores.models)
        for c, (fold, case) in enumerate(scores.keys)
        for n, label in enumerate(scores.labels)
    ]


def mean_records(scores: Scores) -> list[dict[str, Any]]:
    """Means for every model, label and fold, and over all cases, each counted once (fold ``pooled``)."""
    found = []
    for fold in (*scores.folds, "pooled"):
        chosen = {m.key: _values(scores, m.key, fold) for m in METRICS}
        means = {key: label_means(values) for key, values in chosen.items()}
        for m, model in enumerate(scores.models):
            for n, label in enumerate((MEAN, *scores.labels)):
                values = {key: float(table[m, n]) for key, table in means.items()}
                dice = chosen["dice"][m]
                kept = dice if n == 0 else dice[:, n - 1 : n]
                cases = int((~np.isnan(kept)).any(axis=1).sum())
                found.append({"model": model, "label": label, "fold": fold, **values, "cases": cases})
    return found


def _values(scores: Scores, metric: str, fold: str) -> NDArray[np.float64]:
    return by_case(scores, scores.values[metric]) if fold == "pooled" else scores.of_fold(metric, fold)


def paired_records(paired: Sequence[Paired]) -> list[dict[str, Any]]:
    """A record for every paired comparison."""
    return [
        {
            "metric": one.metric.key,
            "label": one.label,
            "reference": one.reference,
            "model": one.other,
            "cases": one.cases,
            "difference": one.difference,
            "low": one.interval[0],
            "high": one.interval[1],
            "p": one.p,
            "p_holm": one.p_holm,
            "p_least": one.p_least,
            "wins": one.wins,
            "ties": one.ties,
            "losses": one.losses,
            "rightly_empty": one.rightly_empty,
            "rank_biserial": one.ranks,
        }
        for one in paired
    ]


def cost_records(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """A record for every model."""
    return [
        asdict(cost)
        | {
            "patch_size": "x".join(map(str, cost.patch_size)),
            "epochs": "-".join(map(str, dict.fromkeys(cost.epochs or ()))),
            "notes": "; ".join(cost.notes),
        }
        for cost in costs
    ]


def all_records(
    scores: Scores, paired: Sequence[Paired], costs: Sequence[Cost], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole content of results.json."""
    return {
        **about,
        "unit": scores.unit,
        "tolerance": scores.tolerance,
        "models": list(scores.models),
        "labels": list(scores.labels),
        "means": mean_records(scores),
        "differences": paired_records(paired),
        "cost": cost_records(costs),
        "cases": case_records(scores),
    }
