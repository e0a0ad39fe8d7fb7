"""Scores of all models on all cases as a frame, and their means."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from nnunet_reca.report.metrics import METRICS
from nnunet_reca.report.runs import UNSEEDED

KEYS = [metric.key for metric in METRICS]
#: name of the mean over labels
MEAN = "mean"
#: in place of a fold's number, of all cases
POOLED = "pooled"
#: in place of a run's seed, of the mean over runs
EVERY_RUN = "all"


@dataclass(frozen=True)
class Scores:
    """Scores of models.

    Attributes:
        frame: a row for every model, run, fold, case and label; columns ``model, run, fold, case, label`` (categories
            in their order), the metrics (NaN where prediction and reference are both empty), and ``one_empty`` (either
            is empty, not both). Natural units: Dice and NSD from 0 to 1.
        unit: of HD95, "mm" or "px".
        tolerance: of NSD in that unit.
    """

    frame: pd.DataFrame
    unit: str
    tolerance: float

    @classmethod
    def of(cls, frame: pd.DataFrame, unit: str, tolerance: float) -> "Scores":
        """From rows, whose models, runs, folds, cases and labels have the order in which they occur.

        Rows without a run are of a model's only one.
        """
        if "run" not in frame:
            frame = frame.assign(run=UNSEEDED)
        names = ("model", "run", "fold", "case", "label")
        return cls(frame.assign(**{n: pd.Categorical(frame[n], frame[n].unique()) for n in names}), unit, tolerance)

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
    def runs(self) -> dict[str, tuple[str, ...]]:
        """Seeds of every model's runs."""
        found = self.frame[["model", "run"]].drop_duplicates()
        return {model: tuple(found.loc[found["model"] == model, "run"]) for model in self.models}

    @property
    def several_runs(self) -> bool:
        """A model has more than one run."""
        return any(len(runs) > 1 for runs in self.runs.values())

    @cached_property
    def by_run(self) -> pd.DataFrame:
        """Metrics by (model, run, case, label): the mean over the folds that a case is validated in."""
        return self.frame.groupby(["model", "run", "case", "label"], observed=True)[KEYS].mean()

    @cached_property
    def by_case(self) -> pd.DataFrame:
        """Metrics by (model, case, label): the mean over runs."""
        return self.by_run.groupby(["model", "case", "label"], observed=True).mean()

    def of_fold(self, fold: str) -> pd.DataFrame:
        """Metrics of a fold by (model, run, case, label)."""
        return self.frame[self.frame["fold"] == fold].set_index(["model", "run", "case", "label"])[KEYS]

    def case_means(self, metric: str, label: str = MEAN) -> pd.DataFrame:
        """:meth:`case_runs`, their mean over runs: cases by models."""
        return pd.DataFrame({model: table.mean(axis=1) for model, table in self.case_runs(metric, label).items()})

    def case_runs(self, metric: str, label: str = MEAN) -> dict[str, pd.DataFrame]:
        """A metric of a label, or its mean over each case's labels with a score: for every model cases by runs."""
        values = self.by_run[metric]
        if label == MEAN:
            values = values.groupby(["model", "run", "case"], observed=True).mean()
        else:
            values = values.xs(label, level="label")
        return {model: values.xs(model, level="model").unstack("run") for model in self.models}

    def run_means(self, fold: str = POOLED) -> pd.DataFrame:
        """Metrics by (model, run, label) of a fold or of all cases, each counted once.

        For every run, first the mean of the labels' means (label ``mean``), as in nnU-Net. Column ``cases`` counts
        those with a score.
        """
        values = self.by_run if fold == POOLED else self.of_fold(fold)
        groups = values.groupby(["model", "run", "label"], observed=True)
        means = groups[KEYS].mean().assign(cases=groups["dice"].count())
        whole = means[KEYS].groupby(["model", "run"], observed=True).mean()
        any_label = values["dice"].notna().groupby(["model", "run", "case"], observed=True).any()
        whole["cases"] = any_label.groupby(["model", "run"], observed=True).sum()
        rows = {(*key, MEAN): whole.loc[key] for key in whole.index} | {key: means.loc[key] for key in means.index}
        each = [(m, run, label) for m in self.models for run in self.runs[m] for label in (MEAN, *self.labels)]
        index = pd.MultiIndex.from_tuples(each, names=["model", "run", "label"])
        return pd.DataFrame([rows[key] for key in index], index).astype({"cases": int})

    def label_means(self, fold: str = POOLED) -> pd.DataFrame:
        """:meth:`run_means`, their mean over runs: by (model, label); ``cases`` is the most of any run."""
        means = self.run_means(fold).groupby(["model", "label"], sort=False)
        return means[KEYS].mean().assign(cases=means["cases"].max())

    def run_spread(self, fold: str = POOLED) -> pd.DataFrame:
        """Standard deviation of :meth:`run_means` over runs (n - 1), by (model, label); NaN for a single run."""
        return self.run_means(fold).groupby(["model", "label"], sort=False)[KEYS].std()

    def means(self) -> pd.DataFrame:
        """Metrics and cases by model, run, label and fold, and over all cases (fold ``pooled``), in plain columns.

        Run ``all`` is the mean over runs, with their number and spread; single runs follow where there are several.
        """
        parts = []
        for fold in (*self.folds, POOLED):
            spread = self.run_spread(fold).add_prefix("sd_over_runs_")
            every = self.label_means(fold).join(spread).reset_index().assign(run=EVERY_RUN)
            parts.append(every.assign(fold=fold, runs=[len(self.runs[model]) for model in every["model"]]))
            single = self.run_means(fold).reset_index().assign(fold=fold, runs=1)
            parts.append(single[[len(self.runs[model]) > 1 for model in single["model"]]])
        columns = ["model", "run", "label", "fold", *KEYS, "cases", "runs", *(f"sd_over_runs_{key}" for key in KEYS)]
        return pd.concat([part for part in parts if len(part)])[columns]


def names_apart(labels: Sequence[str]) -> list[str]:
    """Names of labels, none of which is that of the mean over labels."""
    return [f"label {name}" if name == MEAN else name for name in labels]
