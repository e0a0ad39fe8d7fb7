"""Scores of all models on all cases as a frame, and their means."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from nnunet_reca.report.metrics import METRICS

KEYS = [metric.key for metric in METRICS]
#: name of the mean over labels
MEAN = "mean"
#: in place of a fold's number, of all cases
POOLED = "pooled"


@dataclass(frozen=True)
class Scores:
    """Scores of models.

    Attributes:
        frame: a row for every model, fold, case and label; columns ``model, fold, case, label`` (categories in their
            order), the metrics (NaN where prediction and reference are both empty), and ``one_empty`` (either is
            empty, not both). Natural units: Dice and NSD from 0 to 1.
        unit: of HD95, "mm" or "px".
        tolerance: of NSD in that unit.
    """

    frame: pd.DataFrame
    unit: str
    tolerance: float

    @classmethod
    def of(cls, frame: pd.DataFrame, unit: str, tolerance: float) -> "Scores":
        """From rows, whose models, folds, cases and labels have the order in which they occur."""
        order = {name: pd.Categorical(frame[name], frame[name].unique()) for name in ("model", "fold", "case", "label")}
        return cls(frame.assign(**order), unit, tolerance)

    def _names(self, column: str) -> tuple[str, ...]:
        return tuple(self.frame[column].cat.categories)

    @cached_property
    def models(self) -> tuple[str, ...]:
        return self._names("model")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return self._names("label")

    @cached_property
    def folds(self) -> tuple[str, ...]:
        return self._names("fold")

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """Each once, however many folds validate it."""
        return self._names("case")

    @cached_property
    def by_case(self) -> pd.DataFrame:
        """Metrics by (model, case, label): the mean over the folds that a case is validated in."""
        return self.frame.groupby(["model", "case", "label"], observed=True)[KEYS].mean()

    def of_fold(self, fold: str) -> pd.DataFrame:
        """Metrics of a fold by (model, case, label)."""
        return self.frame[self.frame["fold"] == fold].set_index(["model", "case", "label"])[KEYS]

    def case_means(self, metric: str) -> pd.DataFrame:
        """A metric's mean over each case's labels with a score: cases by models."""
        return self.by_case[metric].groupby(["case", "model"], observed=True).mean().unstack("model")

    def label_means(self, fold: str = POOLED) -> pd.DataFrame:
        """Metrics by (model, label) of a fold or of all cases, each counted once.

        For every model, first the mean of the labels' means (label ``mean``), as in nnU-Net. Column ``cases`` counts
        those with a score.
        """
        values = self.by_case if fold == POOLED else self.of_fold(fold)
        groups = values.groupby(["model", "label"], observed=True)
        means = groups[KEYS].mean().assign(cases=groups["dice"].count())
        whole = means[KEYS].groupby("model", observed=True).mean()
        any_label = values["dice"].notna().groupby(["model", "case"], observed=True).any()
        whole["cases"] = any_label.groupby("model", observed=True).sum()
        rows = {(m, MEAN): whole.loc[m] for m in self.models} | {key: means.loc[key] for key in means.index}
        index = pd.MultiIndex.from_product([self.models, [MEAN, *self.labels]], names=["model", "label"])
        return pd.DataFrame([rows[key] for key in index], index).astype({"cases": int})

    def means(self) -> pd.DataFrame:
        """Metrics and cases by model, label and fold, and over all cases (fold ``pooled``), in plain columns."""
        parts = [self.label_means(fold).reset_index().assign(fold=fold) for fold in (*self.folds, POOLED)]
        return pd.concat(parts)[["model", "label", "fold", *KEYS, "cases"]]


def names_apart(labels: Sequence[str]) -> list[str]:
    """Names of labels, none of which is that of the mean over labels."""
    return [f"label {name}" if name == MEAN else name for name in labels]
