"""How often the comparison's interval over cases and runs is wrong, and how often it finds what is there.

Simulated studies with known answers: two models score the same cases, each with several runs (seeds). A score is that
of its case, what its model makes of the case, what its run is better or worse by in all cases, and noise of the run
within the case, in points of Dice. Without an effect both models are equally good, and an interval without 0 is a false
alarm, which should come in 5 % of studies. Beside ours: the plain bootstrap over cases and runs (both drawn with
replacement), and the bootstrap over cases of runs' means, which knows nothing of seeds.
The last line is one JSON object. Run: ``python benchmarks/seed_simulation.py [--studies 1000]``
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from nnunet_reca.report.resampling import bootstrap, hierarchical_bootstrap

Interval = tuple[float, float]
Array = np.ndarray
#: of the plain bootstrap
RESAMPLES = 1000


@dataclass(frozen=True)
class Design:
    """A kind of study; standard deviations in points of Dice.

    Attributes:
        name: of what varies.
        cases: of the cases, which both models share.
        interaction: of what a model makes of a case, whatever its run.
        run: of what a run is better by in all cases, or with ``folds`` in all cases of a fold.
        noise: of a run within a case.
        folds: each with an effect of its own run, 1 for one effect on all cases.
        skewed: interaction and noise have long tails to the left, as Dice has.
        second_run: of the second model's runs, if not the first's.
    """

    name: str
    cases: float = 8.0
    interaction: float = 1.5
    run: float = 0.5
    noise: float = 1.5
    folds: int = 1
    skewed: bool = False
    second_run: float | None = None


DESIGNS = (
    Design("seed noise in all cases", run=1.0),
    Design("little of it", run=0.3),
    Design("little else", interaction=0.3, run=1.0, noise=0.5),
    Design("none", run=0.0),
    Design("within cases only", interaction=0.0, run=0.0, noise=3.0),
    Design("skewed", run=0.7, skewed=True),
    Design("a draw for each of 5 folds", run=1.0, folds=5),
    Design("one model's only", run=1.0, second_run=0.0),
)
#: runs of both models, and those that are tried with the first design only
RUNS, UNEQUAL = ((2, 2), (3, 3), (5, 5)), ((2, 5), (1, 3))
#: cases of the first designs, and of the others
CASES, MIDDLE = (20, 60), (40,)
#: designs that come first: those are tried with more cases, and with the other methods
FIRST = 3
#: points of Dice by which the second model is better in the studies with an effect
EFFECT = 2.0


def study(design: Design, runs: tuple[int, int], cases: int, effect: float, random: np.random.Generator) -> list[Array]:
    """Scores (runs, cases) of both models, the second better by ``effect``."""
    shared = random.normal(0, design.cases, cases)
    fold = np.arange(cases) % design.folds
    second_run = design.run if design.second_run is None else design.second_run
    scores = []
    for count, better, spread in zip(runs, (0.0, effect), (design.run, second_run), strict=True):
        of_model = design.interaction * _noise(random, (1, cases), design.skewed)
        of_run = random.normal(0, spread, (count, design.folds))[:, fold] if spread else 0.0
        within = design.noise * _noise(random, (count, cases), design.skewed)
        scores.append(85 + better + shared + of_model + of_run + within)
    return scores


def _noise(random: np.random.Generator, shape: tuple[int, int], skewed: bool) -> Array:
    """Of mean 0 and deviation 1."""
    return 1 - random.exponential(1, shape) if skewed else random.normal(0, 1, shape)


def over_cases(first: Array, second: Array) -> Interval:
    """What one would do without a thought of seeds."""
    return bootstrap(second.mean(0) - first.mean(0))


def plain(first: Array, second: Array) -> Interval:
    """Cases and runs drawn with replacement, and percentiles."""
    random = np.random.default_rng(0)
    cases = first.shape[1]
    drawn = random.multinomial(cases, np.full(cases, 1 / cases), RESAMPLES) / cases
    means = []
    for scores in (first, second):
        runs = random.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), RESAMPLES) / len(scores)
        means.append(((runs @ scores) * drawn).sum(1))
    low, high = np.percentile(means[1] - means[0], (2.5, 97.5))
    return float(low), float(high)


METHODS: dict[str, Callable[[Array, Array], Interval]] = {
    "ours": hierarchical_bootstrap,
    "plain": plain,
    "cases only": over_cases,
}


def shown(
    design: Design,
    runs: tuple[int, int],
    cases: int,
    *,
    effect: float = 0.0,
    studies: int = 1000,
    seed: int = 0,
    methods: tuple[str, ...] = tuple(METHODS),
) -> dict[str, float]:
    """Part of the studies whose interval is without 0, by method."""
    random = np.random.default_rng(seed)
    found: dict[str, list[Interval]] = {name: [] for name in methods}
    for _ in range(studies):
        first, second = study(design, runs, cases, effect, random)
        for name in methods:
            found[name].append(METHODS[name](first, second))
    return {name: float(np.mean([low > 0 or high < 0 for low, high in found[name]])) for name in methods}


def cells() -> list[tuple[Design, tuple[int, int], int, float]]:
    """Design, runs, cases and effect of every kind of study: first those without an effect."""
    kinds = [(design, runs, cases) for design in DESIGNS[:FIRST] for runs in RUNS for cases in CASES]
    kinds += [(DESIGNS[0], runs, cases) for runs in UNEQUAL for cases in CASES]
    kinds += [(design, runs, cases) for design in DESIGNS[FIRST:] for runs in RUNS for cases in MIDDLE]
    effects = [(design, runs, cases) for design in DESIGNS[:2] for runs in (*RUNS, *UNEQUAL) for cases in MIDDLE]
    return [(*kind, 0.0) for kind in kinds] + [(*kind, EFFECT) for kind in effects]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="of each kind; the other methods get 300 at most")
    studies = parser.parse_args().studies
    print(f"% of studies whose interval is without 0\n\n| seeds vary | runs | cases | effect | {' | '.join(METHODS)} |")
    print(f"|{' --- |' * (4 + len(METHODS))}")
    rows = []
    for number, (design, runs, cases, effect) in enumerate(cells()):
        result = shown(design, runs, cases, effect=effect, studies=studies, seed=number, methods=("ours",))
        if not effect and design in DESIGNS[:FIRST]:
            others = tuple(name for name in METHODS if name != "ours")
            result |= shown(design, runs, cases, studies=min(300, studies), seed=number, methods=others)
        text = " | ".join(f"{100 * result[name]:.1f}" if name in result else "" for name in METHODS)
        print(f"| {design.name} | {runs[0]} and {runs[1]} | {cases} | {effect:g} | {text} |", flush=True)
        rows.append({"design": design.name, "runs": runs, "cases": cases, "effect": effect, **result})
    designs = [asdict(design) for design in DESIGNS]
    print(json.dumps({"benchmark": "seed_simulation", "studies": studies, "designs": designs, "rows": rows}))


if __name__ == "__main__":
    main()
