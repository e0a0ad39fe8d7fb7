"""Several runs of a model: their statistics, words and tables, on data with known answers."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.results_factory import make_run_scores, make_scores

from nnunet_reca.report.cost import Cost
from nnunet_reca.report.metrics import METRICS
from nnunet_reca.report.models import Model
from nnunet_reca.report.resampling import bootstrap, hierarchical_bootstrap, variances
from nnunet_reca.report.scores import EVERY_RUN, POOLED
from nnunet_reca.report.statistics import compare, compare_pair, difference_frame
from nnunet_reca.report.summary import headline, summarise
from nnunet_reca.report.tables import cost_table, difference_tables, fold_tables, run_tables, score_table
from nnunet_reca.report.wording import Status, limits, sentence, status, verdict
from nnunet_reca.results.files import ModelName
from nnunet_reca.results.labels import Labels

NAMES = {name: f"model {name}" for name in "ABCDEF"}
DICE = METRICS[0]


def simulation():
    """``benchmarks/seed_simulation.py``."""
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "seed_simulation.py"
    spec = importlib.util.spec_from_file_location("seed_simulation", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noisy(runs, cases, *, better=0.0, run=0.0, noise=0.01, seed=0):
    """Dice (runs, cases, 1) of a model; with one seed all models have the same cases."""
    random = np.random.default_rng(seed)
    base = np.random.default_rng(99).uniform(0.6, 0.8, cases)
    of_run = run * np.linspace(-1, 1, runs) if runs > 1 else np.zeros(1)
    return (base + better + of_run[:, None] + random.normal(0, noise, (runs, cases)))[..., None]


def dice_of(scores):
    return next(p for p in compare(scores) if p.metric is DICE)


# the interval


def test_variances_are_those_of_the_explicit_sums():
    random = np.random.default_rng(5)
    first = random.normal(0, 1, (2, 7)) + random.normal(0, 3, 7) + np.array([[-1], [2]])
    second = random.normal(0, 2, (3, 7)) + np.array([[-1], [4], [0]])
    found = variances(first, second)
    cases = sum((d - (second.mean() - first.mean())) ** 2 for d in second.mean(0) - first.mean(0)) / 6 / 7
    runs, noise, squares = 0.0, 0.0, 0.0
    for scores in (first, second):
        count = len(scores)
        of_run = sum((scores[r].mean() - scores.mean()) ** 2 for r in range(count)) / (count - 1) / count
        left = sum(
            (scores[r, c] - scores[r].mean() - scores[:, c].mean() + scores.mean()) ** 2
            for r in range(count)
            for c in range(7)
        )
        of_noise = left / (count - 1) / 6 / 7 / count
        runs, noise = runs + of_run, noise + of_noise
        squares += of_run**2 / (count - 1)
    assert (found.cases, found.runs) == pytest.approx((cases, runs))
    assert found.whole == pytest.approx(cases + runs - noise) and found.whole > max(cases, runs)
    assert found.freedom == pytest.approx(runs**2 / squares)


def test_estimated_variance_is_that_of_the_difference_over_many_studies():
    simulated = simulation()
    random = np.random.default_rng(1)
    design = simulated.Design("", interaction=3.0, run=1.0, noise=2.0)
    studies = [simulated.study(design, (3, 2), 12, 0.0, random) for _ in range(4000)]
    differences = [second.mean() - first.mean() for first, second in studies]
    estimates = [variances(first, second).whole for first, second in studies]
    assert np.mean(estimates) == pytest.approx(np.var(differences), rel=0.08)


def test_an_only_run_is_taken_to_spread_as_the_other_models():
    random = np.random.default_rng(2)
    first, second = random.normal(0, 1, (3, 9)), random.normal(0, 1, (1, 9))
    found = variances(first, second)
    assert found.runs == pytest.approx(first.mean(1).var(ddof=1) * (1 / 3 + 1))
    assert variances(second, first) == found


def test_identical_runs_leave_the_cases_with_students_width():
    differences = np.random.default_rng(3).normal(0.3, 1, 40)
    first, second = np.zeros((3, 40)), np.tile(differences, (3, 1))
    low, high = hierarchical_bootstrap(first, second)
    expected = stats.t.interval(0.95, 39, differences.mean(), stats.sem(differences))
    assert (low, high) == pytest.approx(expected, abs=0.1 * (expected[1] - expected[0]))
    assert variances(first, second).whole == pytest.approx(differences.var(ddof=1) / 40)


def test_exchanging_the_models_turns_the_interval_round():
    random = np.random.default_rng(4)
    first, second = random.normal(0, 1, (2, 30)), random.normal(0, 1, (5, 30)) + np.linspace(-1, 1, 5)[:, None]
    low, high = hierarchical_bootstrap(first, second)
    other = hierarchical_bootstrap(second, first)
    assert (-other[1], -other[0]) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_the_spread_between_runs_widens_the_interval_and_more_runs_narrow_it():
    def width(runs, run):
        low, high = hierarchical_bootstrap(*(noisy(runs, 30, run=run, seed=n)[..., 0] for n in range(2)))
        return high - low

    assert width(3, 0.03) > 3 * width(3, 0.0)
    assert width(2, 0.03) > width(3, 0.03) > width(6, 0.03)


def test_with_one_run_each_the_interval_is_that_over_cases():
    first, second = (noisy(1, 20, better=b, seed=b)[..., 0] for b in range(2))
    paired = compare_pair(DICE, "x", "A", "B", first, second)
    assert paired.interval == bootstrap((second - first)[0]) and paired.runs == (1, 1)
    assert paired == compare_pair(DICE, "x", "A", "B", first[0], second[0])


def test_fewer_than_six_cases_have_no_interval_whatever_the_runs():
    assert np.isnan(hierarchical_bootstrap(np.zeros((3, 5)), np.ones((3, 5)))).all()


@pytest.mark.parametrize(
    ("runs", "cases", "number"), [((2, 2), 20, 2), ((3, 3), 40, 0), ((5, 5), 20, 2), ((2, 3), 20, 0), ((1, 3), 20, 0)]
)
def test_false_alarms_stay_at_five_percent_where_the_plain_bootstrap_has_many(runs, cases, number):
    """All 1,000 studies a row, and other kinds: benchmarks/seed_simulation.py."""
    simulated = simulation()
    studies = 150
    found = simulated.shown(simulated.DESIGNS[number], runs, cases, studies=studies, methods=("ours", "cases only"))
    bound = 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / studies)
    assert found["ours"] <= bound < found["cases only"]


def test_committed_simulation_has_at_most_five_percent_of_false_alarms_in_every_kind_of_study():
    """Up to what chance makes of 1,000 studies."""
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "seed_simulation.json"
    if not file.is_file():
        pytest.skip("source distributions have no benchmarks")
    found = json.loads(file.read_text(encoding="utf-8"))
    alarms = {(row["design"], *row["runs"], row["cases"]): row["ours"] for row in found["rows"] if not row["effect"]}
    assert found["studies"] == 1000 and {count for key in alarms for count in key[1:3]} >= {1, 2, 3, 5}
    assert max(alarms.values()) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000), alarms


def test_the_plain_bootstrap_over_runs_would_be_caught():
    simulated = simulation()
    found = simulated.shown(simulated.DESIGNS[2], (2, 2), 20, studies=100, methods=("plain",))
    assert found["plain"] > 0.15


@pytest.mark.parametrize("runs", [(3, 3), (5, 5)])
def test_a_real_effect_is_found(runs):
    simulated = simulation()
    found = simulated.shown(simulated.DESIGNS[1], runs, 40, effect=3.0, studies=50, methods=("ours",))
    assert found["ours"] > 0.9


# what is told of runs


def test_means_over_runs_and_their_spread_by_hand():
    scores = make_run_scores([[[0.5], [0.7]], [[0.6], [0.9]]], [[[0.5], [0.5]]])
    assert scores.runs == {"A": ("0", "1"), "B": ("0",)} and scores.several_runs
    assert scores.label_means()["dice"].tolist() == pytest.approx([0.675, 0.675, 0.5, 0.5])
    spread = scores.run_spread()["dice"]
    assert spread["A", "x"] == pytest.approx(np.std([0.6, 0.75], ddof=1)) and np.isnan(spread["B", "x"])
    frame = scores.means().set_index(["model", "run", "label", "fold"])
    assert frame.loc[("A", EVERY_RUN, "x", POOLED), "runs"] == 2
    assert frame.loc[("A", "1", "x", POOLED), "dice"] == pytest.approx(0.75)
    assert ("B", "0", "x", POOLED) not in frame.index, "the only run would be there twice"


def test_pairs_of_runs_and_the_spread_of_both_models_by_hand():
    a, b = [[[0.5]] * 6, [[0.6]] * 6], [[[0.55]] * 6, [[0.65]] * 6, [[0.75]] * 6]
    paired = dice_of(make_run_scores(a, b))
    assert paired.runs == (2, 3) and (paired.run_wins, paired.run_losses) == (5, 1)
    assert paired.run_spreads == pytest.approx((np.std([0.5, 0.6], ddof=1), 0.1))
    assert paired.run_spread == pytest.approx(np.sqrt((0.1**2 / 2 + 2 * 0.1**2) / 3))
    (row,) = difference_frame([paired]).to_dict("records")
    assert (row["reference_runs"], row["model_runs"], row["run_wins"]) == (2, 3, 5)


def test_a_shorter_distance_wins_pairs_of_runs():
    found = compare(make_run_scores(noisy(2, 8), noisy(2, 8, better=0.1)))
    assert [(p.metric.key, p.run_wins) for p in found] == [("dice", 4), ("hd95", 4), ("nsd", 4)]


def test_a_run_that_rightly_predicts_nothing_is_perfect_where_another_predicts_something():
    nan = np.nan
    scores = make_run_scores([[[nan], [0.5]], [[0.0], [0.5]]], [[[nan], [0.5]], [[nan], [0.5]]])
    paired = dice_of(scores)
    assert paired.cases == 2 and paired.rightly_empty == 1
    assert paired.difference == pytest.approx((1 - 0.5) / 2)  # of case0: 1 less the mean of 1 and 0


def test_one_run_of_each_model_gives_the_numbers_of_scores_without_runs():
    a, b = noisy(1, 9), noisy(1, 9, seed=1)
    with_runs, without = compare(make_run_scores(a, b)), compare(make_scores(np.stack([a[0], b[0]])))
    assert [repr(p) for p in with_runs] == [repr(p) for p in without]


# words


def test_a_difference_that_only_these_runs_have_is_not_shown():
    scores = make_run_scores(noisy(2, 30, run=0.03), noisy(2, 30, run=0.03, better=0.02, seed=1))
    paired = dice_of(scores)
    assert paired.p_holm < 0.001 and status(paired) is Status.THESE_RUNS
    assert "tell these runs apart, but not the models" in verdict(paired)
    assert headline(paired, NAMES).startswith("No difference between model B and model A is shown beyond these runs")


def test_a_difference_far_beyond_the_seeds_is_shown_and_says_how_far():
    scores = make_run_scores(noisy(3, 30, run=0.002), noisy(3, 30, run=0.002, better=0.05, seed=1))
    paired = dice_of(scores)
    assert status(paired) is Status.CASES_AND_RUNS
    text = sentence(paired, "mm", NAMES)
    assert "95 % interval over cases and runs +" in text and "after Holm over cases, for these runs" in text
    ratio = abs(paired.difference) / paired.run_spread
    assert f"The difference is {ratio:.1f} times the spread between runs of one model (SD " in text
    assert "3 runs each); model B is better in 9 of 9 pairs of runs, worse in 0." in text
    assert "Chance among cases and seeds is an unlikely explanation" in text


def test_no_effect_with_seed_noise_is_no_difference():
    paired = dice_of(make_run_scores(noisy(3, 30, run=0.01), noisy(3, 30, run=0.01, seed=1)))
    assert paired.interval[0] < 0 < paired.interval[1] and not status(paired).shown


def test_one_model_with_runs_and_another_without_says_what_is_assumed():
    text = sentence(dice_of(make_run_scores(noisy(3, 20, run=0.01), noisy(1, 20, seed=1))), "mm", NAMES)
    assert "3 of model A, 1 of model B" in text
    assert "The runs of model B, of which there is one, are taken to spread as the other's." in text


def model(trainer):
    return Model(ModelName(trainer, "P", "3d_fullres"), Path(), ("0",), Labels({}, None), {})


def test_one_seed_only_says_that_seeds_are_missing_and_how_to_have_them():
    one = make_run_scores(noisy(1, 8), noisy(1, 8, seed=1))
    text = " ".join(limits([model("nnUNetTrainerSwinUNETR"), model("nnUNetTrainer")], one))
    assert "Seeds are missing: train with _seed0, _seed1 and _seed2" in text
    assert "No option for a seed: nnUNetTrainer." in text
    assert "One training for each model and fold" in text and "about the choice of these cases" in text
    several = make_run_scores(noisy(2, 8), noisy(2, 8, seed=1))
    text = " ".join(limits([model("nnUNetTrainerSwinUNETR_seed0")], several))
    assert "Seeds are missing" not in text and "With 2 runs the spread between runs is hardly known" in text
    assert "p values are about the choice of cases alone, for these runs" in text


# tables


def rows(table):
    return list(table.frame.itertuples(index=False, name=None))


def test_score_table_has_means_over_runs_with_their_spread_and_the_number_of_runs():
    scores = make_run_scores([[[0.5]], [[0.6]]], [[[0.9]]])
    table = score_table(scores, NAMES)
    deviation = f"{100 * np.std([0.5, 0.6], ddof=1):.2f}"
    assert rows(table)[0][:3] == ("model A", "2", f"55.00 ± {deviation}") and rows(table)[1][:3] == (
        "model B",
        "1",
        "90.00",
    )
    assert table.best == {(1, column) for column in (2, 3, 4)} and "over runs" in table.title
    (runs,) = run_tables(scores, NAMES)
    assert [row[:3] for row in rows(runs)] == [
        ("model A", "seed 0", "50.00"),
        ("model A", "seed 1", "60.00"),
        ("model B", "seed 0", "90.00"),
    ]
    assert not run_tables(make_run_scores([[[0.5]]], [[[0.9]]]), NAMES)


def test_difference_table_stands_by_the_spread_of_runs():
    scores = make_run_scores([[[0.5]] * 6, [[0.6]] * 6], [[[0.7]] * 6, [[0.8]] * 6])
    table = difference_tables(compare(scores), scores, NAMES)[0]
    row = dict(zip(table.frame.columns, rows(table)[0], strict=True))
    assert row["By spread of runs"] == f"{0.2 / np.std([0.5, 0.6], ddof=1):.1f}"
    assert "p over cases alone, for these runs" in " ".join(table.notes)
    assert "means over runs" in fold_tables(scores, NAMES)[0].notes[0]


def cost(name, seconds=10.0, parameters=2_000_000, memory=None):
    return Cost(name, (), None, parameters, None, (2, 2), seconds, memory, (), 6, 0.5)


def test_cost_table_counts_trainings_and_their_hours():
    scores = make_run_scores([[[0.5]], [[0.6]]], [[[0.9]], [[0.9]]])
    table = cost_table([cost("A"), cost("B")], scores, NAMES)
    row = dict(zip(table.frame.columns, rows(table)[0], strict=True))
    assert (row["Trainings"], row["Hours in all"]) == ("6", "0.50") and row["Dice (%) ↑"].startswith("55.00 ± ")


def test_cost_table_marks_estimates_of_memory_where_none_was_recorded():
    scores = make_run_scores([[[0.5]], [[0.6]]], [[[0.9]], [[0.9]]])
    estimated = dataclasses.replace(cost("B"), estimated_memory=3.0)
    table = cost_table([cost("A", memory=2.5), estimated], scores, NAMES)
    assert table.frame["Peak memory (GiB)"].tolist() == ["2.50", "3.00 (estimated)"]
    assert any(note.startswith("Estimated: ") for note in table.notes)
    recorded = cost_table([cost("A", memory=2.5), cost("B")], scores, NAMES)
    assert recorded.frame["Peak memory (GiB)"].tolist() == ["2.50", "not recorded"]
    assert not any("stimated" in note for note in recorded.notes)


# in short


def short(*models, **costs):
    scores = make_run_scores(*models)
    each = [cost(name, **costs.get(name, {})) for name in scores.models]
    return summarise(compare(scores), scores, each, NAMES)


def test_summary_says_which_model_is_better_by_how_much_how_sure_and_at_what_cost():
    found = short(noisy(3, 30), noisy(3, 30, better=0.055, seed=1), B={"seconds": 12.5, "parameters": 3_000_000})
    answer, sure, price = found.sentences
    assert answer.startswith("model B is better than model A, by 5.") and answer.endswith(" Dice points.")
    assert sure.startswith("How sure: shown over cases and seeds; 95 % interval +") and "30 cases, 3 runs each" in sure
    assert sure.endswith("HD95 and NSD agree.")
    assert price == (
        "Cost of model B by that of model A: 1.25 × the time of an epoch, 1.50 × the parameters, peak memory not known."
    )
    reference, other = found.rows
    assert reference.bar is None and reference.sure == "reference" and other.bar.kind == "better"
    assert 0 < other.bar.low < other.bar.middle < other.bar.high <= 1
    assert other.seconds == "12.5 (1.25 ×)" and other.memory == "–"


def test_summary_names_the_better_model_whichever_is_the_reference():
    found = short(noisy(3, 30, better=0.055), noisy(3, 30, seed=1))
    assert found.sentences[0].startswith("model A is better than model B, by 5.") and found.rows[1].bar.kind == "worse"


def test_summary_of_one_run_each_claims_no_more_than_these_trainings():
    found = short(noisy(1, 30), noisy(1, 30, better=0.05, seed=1))
    assert "is better than model A on these cases, one training each, by" in found.sentences[0]
    assert "other seeds not known" in found.sentences[1]


def test_summary_is_plain_where_nothing_is_shown():
    found = short(noisy(3, 30, run=0.01), noisy(3, 30, run=0.01, seed=1))
    assert found.sentences[0].startswith("No difference between model B and model A is shown: ")
    assert "HD95 and NSD show no difference" in found.sentences[1] and found.rows[1].bar.kind == "open"
    few = short(noisy(1, 4), noisy(1, 4, better=0.1, seed=1))
    assert few.sentences[0].startswith("Too few cases to tell model B and model A apart")
    assert "no interval" in few.sentences[1]


def test_summary_of_equal_models_and_of_models_without_scores():
    same = short(noisy(1, 8), noisy(1, 8))
    assert same.sentences[0] == "model B and model A score the same in every case."
    nothing = short(np.full((1, 8, 1), np.nan), np.full((1, 8, 1), np.nan))
    assert "no case has a score" in nothing.sentences[0] and nothing.rows[1].bar is None


def test_summary_of_many_models_groups_them():
    base = noisy(1, 30)
    models = [base, *(noisy(1, 30, better=b, seed=n) for n, b in enumerate((0.055, 0.065, -0.055, 0.0, 0.07), start=1))]
    found = short(*models)
    assert [text.split(":")[0] for text in found.sentences] == [
        "Better than model A",
        "Worse than model A",
        "Not told apart from model A",
    ]
    assert "model B (+5." in found.sentences[0] and "model D (−5." in found.sentences[1]
