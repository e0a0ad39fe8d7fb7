"""A report in ten seconds: which model is better, by how much, how sure, at what cost; or that nothing is shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnunet_reca.report.cost import Cost
from nnunet_reca.report.metrics import METRICS
from nnunet_reca.report.naming import UNKNOWN, large, number
from nnunet_reca.report.scores import MEAN, Scores
from nnunet_reca.report.statistics import Paired
from nnunet_reca.report.tables import spread_over_runs
from nnunet_reca.report.wording import Status, headline_pairs, status

DICE = METRICS[0]
#: comparisons that get a sentence each; more are counted
MOST = 4


@dataclass(frozen=True)
class Bar:
    """A difference and its interval on a line with 0 in the middle, from -1 to 1.

    Attributes:
        low, high: of the interval; both the difference without one.
        middle: the difference.
        kind: "better" or "worse" where it is shown, else "open".
    """

    low: float
    middle: float
    high: float
    kind: str


@dataclass(frozen=True)
class Row:
    """A model in short.

    Attributes:
        model: name.
        dice: mean, ± its spread over runs.
        difference: from the reference with its interval; empty for the reference.
        bar: the same, drawn.
        sure: how far it is shown.
        seconds, parameters, memory: cost, with the ratio to the reference.
    """

    model: str
    dice: str
    difference: str
    bar: Bar | None
    sure: str
    seconds: str
    parameters: str
    memory: str


@dataclass(frozen=True)
class Summary:
    """A report in short.

    Attributes:
        answers: which model is better, and how sure that is.
        cost: of two models by each other; empty for more.
        rows: one for each model, the reference first.
        reference: its name.
        runs: some model has several, so that ± is their spread.
    """

    answers: tuple[tuple[str, str], ...]
    cost: str
    rows: tuple[Row, ...]
    reference: str
    runs: bool

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is said, the plainest first."""
        return tuple(text for text in (*(text for answer in self.answers for text in answer), self.cost) if text)


def summarise(paired: Sequence[Paired], scores: Scores, costs: Sequence[Cost], names: Mapping[str, str]) -> Summary:
    """Every model against the first, by Dice, and what the other metrics say."""
    headlines = [p for p in headline_pairs(paired) if p.reference == scores.models[0]]
    dice = {p.other: p for p in headlines if p.metric is DICE}
    others = {p.other: [o for o in headlines if o.other == p.other and o.metric is not DICE] for p in dice.values()}
    of = {cost.model: cost for cost in costs}
    largest = max((abs(value) for p in dice.values() for value in _limits(p)), default=0.0)
    rows = [_row(model, dice.get(model), scores, of, names, largest) for model in scores.models]
    if len(dice) > MOST:
        answers = _counted(list(dice.values()), names)
    else:
        answers = [(headline(p, names), _sure(p, others[p.other])) for p in dice.values()]
    cost = _cost(of[scores.models[1]], of[scores.models[0]], names) if len(dice) == 1 else ""
    return Summary(tuple(answers), cost, tuple(rows), names[scores.models[0]], scores.several_runs)


def headline(paired: Paired, names: Mapping[str, str]) -> str:
    """Which of two models is better, or that it is not shown, and by how much."""
    other, reference, found = names[paired.other], names[paired.reference], status(paired)
    better, worse = (other, reference) if _is_better(paired) else (reference, other)
    size = abs(paired.difference * DICE.factor)
    if found is Status.CASES_AND_RUNS:
        return f"{better} is better than {worse}, by {number(size)} Dice points."
    if found is Status.CASES:
        return f"{better} is better than {worse} on these cases, one training each, by {number(size)} Dice points."
    about = f"{other} and {reference}"
    text = {
        Status.EMPTY: f"Nothing to compare between {about}: no case has a score",
        Status.TIES: f"{about} score the same in every case",
        Status.THESE_RUNS: f"No difference between {about} is shown beyond these runs",
        Status.DISAGREE: f"No clear answer between {about}: the mean and the many cases disagree",
        Status.TOO_FEW: f"Too few cases to tell {about} apart",
        Status.TOO_MANY_TESTS: f"Too few cases for so many tests to tell {about} apart",
    }.get(found, f"No difference between {about} is shown")
    return f"{text}." if found in (Status.EMPTY, Status.TIES) else f"{text}: {_points(paired)} Dice points for {other}."


def _sure(dice: Paired, others: Sequence[Paired]) -> str:
    """How sure the headline is."""
    found = status(dice)
    cases = f"{dice.cases} case{'s' * (dice.cases != 1)}"
    first, second = dice.runs
    runs = f"{first} run{'s' * (first > 1)} each" if first == second else f"{first} and {second} runs"
    interval = "no interval" if math.isnan(dice.interval[0]) else f"95 % interval {_interval(dice)} points"
    return f"How sure: {found.value}; {interval}, {cases}, {runs}.{_agreement(dice, others)}"


def _agreement(dice: Paired, others: Sequence[Paired]) -> str:
    """What the other metrics show."""
    says = []
    for p in others:
        if not status(p).shown:
            says.append(f"{p.metric.title} shows no difference")
        elif status(dice).shown:
            says.append(f"{p.metric.title} {'agrees' if _is_better(p) == _is_better(dice) else 'says the opposite'}")
        else:
            says.append(f"{p.metric.title} is {'better' if _is_better(p) else 'worse'}")
    if len({text.split(" ", 1)[1] for text in says}) == 1 and len(says) > 1:
        shared = says[0].split(" ", 1)[1]
        plural = {
            "agrees": "agree",
            "says the opposite": "say the opposite",
            "shows no difference": "show no difference",
        }
        shared = plural.get(shared, shared.replace("is ", "are "))
        says = [f"{' and '.join(p.metric.title for p in others)} {shared}"]
    return f" {', '.join(says)}." if says else ""


def _counted(dice: Sequence[Paired], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Many comparisons: who is better, worse, not told apart."""
    reference = names[dice[0].reference]
    groups: dict[str, list[str]] = {}
    for p in dice:
        kind = _kind(p)
        shown = f"{names[p.other]} ({_points(p)})" if kind != "open" else names[p.other]
        groups.setdefault(kind, []).append(shown)
    titles = {"better": "Better than", "worse": "Worse than", "open": "Not told apart from"}
    said = [f"{title} {reference}: {', '.join(groups[kind])}." for kind, title in titles.items() if kind in groups]
    return [(text, "") for text in said]


def _cost(other: Cost, reference: Cost, names: Mapping[str, str]) -> str:
    """What the other model takes, by the reference's."""
    parts = []
    for what, mine, theirs in (
        ("time of an epoch", other.epoch_seconds, reference.epoch_seconds),
        ("parameters", other.parameters, reference.parameters),
        ("peak memory", other.peak_memory, reference.peak_memory),
    ):
        known = mine is not None and theirs
        parts.append(f"{number(mine / theirs)} × the {what}" if known else f"{what} not known")  # type: ignore[operator]
    return f"Cost of {names[other.model]} by that of {names[reference.model]}: {', '.join(parts)}."


def _row(
    model: str,
    paired: Paired | None,
    scores: Scores,
    costs: Mapping[str, Cost],
    names: Mapping[str, str],
    largest: float,
) -> Row:
    mean, deviation = scores.label_means()["dice"], scores.run_spread()["dice"]
    own, reference = costs[model], costs[scores.models[0]]
    low_high = "" if paired is None or math.isnan(paired.interval[0]) else f" ({_interval(paired)})"
    return Row(
        names[model],
        spread_over_runs(mean[model, MEAN] * DICE.factor, deviation[model, MEAN] * DICE.factor, DICE.digits),
        "" if paired is None else _points(paired) + low_high,
        None if paired is None or not paired.cases else _bar(paired, largest),
        "reference" if paired is None else status(paired).value,
        _with_ratio(own.epoch_seconds, reference.epoch_seconds, 1, 1, paired is not None),
        _with_ratio(own.parameters, reference.parameters, 1e6, 1, paired is not None),
        _with_ratio(own.peak_memory, reference.peak_memory, 1, 2, paired is not None),
    )


def _with_ratio(value: float | None, reference: float | None, unit: float, digits: int, other: bool) -> str:
    """A cost, and for others than the reference the ratio to its."""
    if value is None:
        return UNKNOWN
    return large(value, unit, digits) + (f" ({number(value / reference)} ×)" if other and reference else "")


def _bar(paired: Paired, largest: float) -> Bar:
    low, high = (paired.difference if math.isnan(value) else value for value in paired.interval)
    low, middle, high = (value / largest if largest else 0.0 for value in (low, paired.difference, high))
    return Bar(low, middle, high, _kind(paired))


def _kind(paired: Paired) -> str:
    return "open" if not status(paired).shown else "better" if _is_better(paired) else "worse"


def _is_better(paired: Paired) -> bool:
    """The other model, by the mean."""
    return (paired.difference > 0) == paired.metric.higher_is_better


def _limits(paired: Paired) -> list[float]:
    return [value for value in (*paired.interval, paired.difference) if not math.isnan(value)]


def _points(paired: Paired) -> str:
    return number(paired.difference * DICE.factor, signed=True)


def _interval(paired: Paired) -> str:
    return " to ".join(number(value * DICE.factor, signed=True) for value in paired.interval)
