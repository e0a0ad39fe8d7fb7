import numpy as np
import pytest
from support.results_factory import make_scores

from nnunet_reca.report.cost import Cost
from nnunet_reca.report.figures import style_of
from nnunet_reca.report.naming import FOLDS, number, p_value, report_name, short_names
from nnunet_reca.report.runs import Run
from nnunet_reca.report.scores import names_apart
from nnunet_reca.report.statistics import compare
from nnunet_reca.report.tables import cost_table, difference_tables, fold_tables, score_table
from nnunet_reca.report.wording import limits, methods, sentence, verdict
from nnunet_reca.results.files import ModelName

NAMES = {name: f"model {name}" for name in "ABCDE"}
KEYS = [("0", "a"), ("0", "b"), ("1", "c")]


def rows(table):
    return list(table.frame.itertuples(index=False, name=None))


def test_score_table_has_a_row_for_each_model_and_means_before_labels():
    table = score_table(make_scores([[[0.5, 0.7], [0.7, 0.9], [0.6, 0.8]], [[0.1, 0.2]] * 3], KEYS), NAMES)
    assert tuple(table.frame.columns) == ("Model", "Dice (%) ↑", "HD95 (mm) ↓", "NSD (%) ↑", "x", "y")
    assert rows(table)[0] == ("model A", "70.00", "3.00", "70.00", "60.00", "80.00")
    assert {column for row, column in table.best if row == 0} == {1, 2, 3, 4, 5}


def test_equal_scores_have_no_best():
    assert not score_table(make_scores([[[0.5]], [[0.5]]]), NAMES).best


def test_many_labels_become_rows():
    table = score_table(make_scores([np.full((3, 8), 0.5), np.full((3, 8), 0.25)], labels="abcdefgh"), NAMES)
    assert list(table.frame.columns) == ["", "model A", "model B"] and "best of a row" in table.notes[0]
    assert rows(table)[0] == ("Dice (%) ↑", "50.00", "25.00") and rows(table)[-1] == ("h", "50.00", "25.00")
    assert table.best == {(row, 1) for row in range(11)}


def test_mean_is_that_of_the_labels_means_as_nnunet_has_it():
    means = make_scores([[[0.2, np.nan], [0.4, 0.9]]]).label_means()
    assert means["dice"].tolist() == pytest.approx([(0.3 + 0.9) / 2, 0.3, 0.9])
    assert means["cases"].tolist() == [2, 2, 1] and means.index.get_level_values("label").tolist() == ["mean", "x", "y"]


def test_a_label_may_be_called_like_the_mean_over_labels():
    assert names_apart(["mean", "x"]) == ["label mean", "x"]


def test_fold_table_has_every_fold_their_spread_and_the_pooled_spread():
    table = fold_tables(make_scores([[[0.2], [0.4], [0.9]], [[0.5]] * 3], KEYS), NAMES)[0]
    assert tuple(table.frame.columns[2:]) == ("Fold 0", "Fold 1", "Folds, mean ± SD", "Cases, mean ± SD", "Cases")
    spread = f"60.00 ± {np.std([30, 90], ddof=1):.2f}"
    assert rows(table)[0][2:] == ("30.00", "90.00", spread, f"50.00 ± {np.std([20, 40, 90], ddof=1):.2f}", "3")


def test_empty_predictions_are_counted_below_the_scores():
    scores = make_scores([[[0.5, np.nan]], [[0.0, np.nan]]], one_empty=[(1, 0, 0)])
    notes = " ".join(score_table(scores, NAMES).notes)
    assert "2 scores are left out" in notes and "model A 0, model B 1 times" in notes


def test_difference_table_says_how_many_tests_cannot_reach_significance():
    scores = make_scores([[[0.1]] * 5, [[0.2]] * 5])
    table = difference_tables(compare(scores), scores, NAMES)[0]
    assert rows(table)[0][:4] == ("x", "model B", "+10.00", "–") and rows(table)[0][6] == "5 / 0 / 0"
    assert "Fewer than 6 cases have no interval" in " ".join(table.notes)
    assert "1 of the tests rest on fewer than 6 cases" in " ".join(table.notes)


def test_words_do_not_oversell():
    generator = np.random.default_rng(0)
    few = compare(make_scores([[[0.1]] * 5, [[0.2]] * 5]))[0]
    assert "says nothing about which model is better" in verdict(few)
    noise = compare(make_scores([generator.random((20, 1)), generator.random((20, 1))]))[0]
    assert "do not tell the models apart" in verdict(noise)
    base = np.linspace(0.1, 0.8, 20)[:, None]
    clear = compare(make_scores([base, base + np.linspace(0.01, 0.02, 20)[:, None]]))[0]
    assert "another seed" in verdict(clear)
    crowd = np.stack([base[:7], *(base[:7] + n / 100 for n in (1, 2, 3, 4))])
    assert "no result could reach p < 0.05 after the correction" in verdict(compare(make_scores(crowd))[0])
    text = sentence(clear, "mm", NAMES)
    assert text.startswith("Dice: on these 20 cases, the mean Dice of model B is 1.50 points higher (better)")
    assert "p < 0.001 after Holm" in text


def test_a_shorter_distance_is_lower_and_better():
    base = np.linspace(0.1, 0.8, 8)[:, None]
    scores = make_scores([base, base + 0.1])
    distance = next(p for p in compare(scores) if p.metric.key == "hd95")
    assert "is 1.00 mm lower (better) than" in sentence(distance, "mm", NAMES)


def test_numbers_have_true_minus_signs_and_no_negative_zero():
    assert (number(-1.25), number(-0.001), number(2, 1, signed=True)) == ("−1.25", "0.00", "+2.0")
    assert (p_value(0.0004), p_value(0.04), p_value(float("nan"))) == ("<0.001", "0.040", "–")


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["nnUNetTrainerX_tiny_5epochs__P__2d", "nnUNetTrainerXReca_tiny_5epochs__P__2d"], ["X", "XReca"]),
        (["nnUNetTrainer__P__2d", "nnUNetTrainer_1epoch__P__2d"], ["nnUNetTrainer", "nnUNetTrainer_1epoch"]),
        (["nnUNetTrainerX__P__2d", "nnUNetTrainerX__P__3d_fullres"], ["2d", "3d_fullres"]),
        (["nnUNetTrainerX__P__2d", "nnUNetTrainerY__Q__2d"], ["X, P", "Y, Q"]),
    ],
)
def test_short_names_keep_what_differs(names, short):
    models = [ModelName(*name.split("__")) for name in names]
    assert short_names(models) == dict(zip(names, short, strict=True))


def test_rightly_empty_predictions_are_counted_below_the_differences():
    base = np.linspace(0.1, 0.6, 6)
    scores = make_scores([np.append(base, [np.nan] * 2)[:, None], np.append(base, [0.0, np.nan])[:, None]])
    paired = compare(scores)
    dice, hd95, _ = (" ".join(table.notes) for table in difference_tables(paired, scores, NAMES))
    assert "1 times only one of both models rightly predicts nothing: in this table its Dice counts as 100" in dice
    assert "its HD95 counts as 0" in hd95
    assert "counts as perfect" in " ".join(methods(scores))


def test_notes_count_only_tests_that_have_cases():
    base = np.linspace(0.1, 0.5, 5)
    values = np.stack([base, np.full(5, np.nan)], axis=1)  # the second label is nowhere
    scores = make_scores([values, values + 0.1])
    notes = " ".join(difference_tables(compare(scores), scores, NAMES)[0].notes)
    assert "over the 2 tests of this table" in notes and "2 of the tests rest on fewer than 6" in notes


def test_both_means_are_named():
    scores = make_scores(np.random.default_rng(0).random((2, 8, 2)))
    paired = compare(scores)
    assert "mean of the labels' means" in score_table(scores, NAMES).title
    assert "each case's mean over its labels" in " ".join(difference_tables(paired, scores, NAMES)[0].notes)
    assert sentence(paired[0], "mm", NAMES).startswith("Dice, mean over each case's labels: on these 8 cases")


def test_a_mean_against_the_ranks_is_not_called_unlikely_by_chance():
    first = np.full((40, 1), 0.7)
    gain = np.full(40, 0.005)
    gain[0] = -0.6  # 39 cases a little better, one far worse: the mean is lower
    (dice, *_) = compare(make_scores([first, first + gain[:, None]]))
    assert dice.difference < 0 and dice.p_holm < 0.001
    assert verdict(dice) == "Mean and ranks disagree (better in 39 of 40 cases): look at the cases."
    assert "better in 39, worse in 1, equal in 0" in sentence(dice, "mm", NAMES)


def test_ranks_against_an_interval_without_zero_are_not_called_unlikely_by_chance():
    first = np.full((60, 1), 0.7)
    gain = np.full(60, 0.005)
    gain[:6] = -0.6  # the whole interval is below 0, and the ranks are above
    (dice, *_) = compare(make_scores([first, first + gain[:, None]]))
    assert dice.interval[1] < 0 and dice.p_holm < 0.05 and dice.ranks > 0
    assert "disagree (better in 54 of 60 cases)" in verdict(dice)


def test_a_case_of_two_folds_counts_once_wherever_cases_are_pooled():
    scores = make_scores([[[0.2], [0.4], [0.9]], [[0.5]] * 3], [("0", "a"), ("1", "a"), ("1", "b")])
    pooled = f"{100 * (0.3 + 0.9) / 2:.2f}"
    assert rows(score_table(scores, NAMES))[0][1] == pooled
    assert rows(fold_tables(scores, NAMES)[0])[0][-2].startswith(pooled)
    mean = scores.means().set_index(["model", "label", "fold"]).loc[("A", "mean", "pooled")]
    assert mean["dice"] == pytest.approx(0.6) and mean["cases"] == 2
    costs = [Cost(name, (), None, None, None, None, None, None, ()) for name in "AB"]
    assert rows(cost_table(costs, scores, NAMES))[0][1] == pooled


def test_shared_trainings_are_spoken_of_only_with_several_folds():
    one, two = (make_scores([[[0.5]] * 2] * 2, [("0", "a"), (fold, "b")]) for fold in "01")
    assert not any("share most of their cases" in text for text in limits([], one))
    assert any("share most of their cases" in text for text in limits([], two))


def test_models_of_one_colour_have_different_markers():
    assert len({style_of(n)[:2] for n in range(21)}) == 21 and style_of(0)[0] == style_of(7)[0]


@pytest.mark.parametrize(
    ("models", "folds", "name"),
    [
        (("A__nnUNetPlans__3d_fullres", "B__nnUNetPlans__3d_fullres"), FOLDS, "A_vs_B"),
        (("A__nnUNetPlans__2d", "B__nnUNetPlans__2d"), "0", "A_vs_B_2d_fold_0"),
        (("A__P__2d", "A__P__3d_fullres"), "10", "A-2d_vs_A-3d_fullres_P_folds_1_0"),
    ],
)
def test_a_reports_default_name_tells_all_but_nnunets_defaults(models, folds, name):
    names = [ModelName(f"nnUNetTrainer{t}", p, c) for t, p, c in (model.split("__") for model in models)]
    assert report_name([Run(model, "") for model in names], tuple(folds)) == f"reca_comparison_{name}"
