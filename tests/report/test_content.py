import numpy as np
import pytest
from results_factory import make_scores

from nnunet_reca.report.content import difference_tables, fold_tables, label_means, score_table
from nnunet_reca.report.naming import number, p_value, short_names
from nnunet_reca.report.statistics import compare
from nnunet_reca.report.wording import sentence, verdict

NAMES = {name: f"model {name}" for name in "ABCDE"}
KEYS = [("0", "a"), ("0", "b"), ("1", "c")]


def test_score_table_has_a_row_for_each_model_and_means_before_labels():
    table = score_table(make_scores([[[0.5, 0.7], [0.7, 0.9], [0.6, 0.8]], [[0.1, 0.2]] * 3], KEYS), NAMES)
    assert table.columns == ("Model", "Dice (%) ↑", "HD95 (mm) ↓", "NSD (%) ↑", "x", "y")
    assert table.rows[0] == ("model A", "70.00", "3.00", "70.00", "60.00", "80.00")
    assert {column for row, column in table.best if row == 0} == {1, 2, 3, 4, 5}


def test_equal_scores_have_no_best():
    assert not score_table(make_scores([[[0.5]], [[0.5]]]), NAMES).best


def test_many_labels_become_rows():
    scores = make_scores(np.full((2, 3, 3), 0.5))
    wide = type(scores)(**{**vars(scores), "labels": tuple("abcdefgh")} | _repeated(scores, 8))
    assert score_table(wide, NAMES).columns == ("", "model A", "model B")


def _repeated(scores, labels):
    values = {key: np.repeat(v[:, :, :1], labels, 2) for key, v in scores.values.items()}
    return {"values": values, "one_empty": np.zeros((2, 3, labels), bool)}


def test_mean_is_that_of_the_labels_means_as_nnunet_has_it():
    values = np.array([[[0.2, np.nan], [0.4, 0.9]]])
    assert label_means(values) == pytest.approx(np.array([[(0.3 + 0.9) / 2, 0.3, 0.9]]))


def test_fold_table_has_every_fold_their_spread_and_the_pooled_spread():
    table = fold_tables(make_scores([[[0.2], [0.4], [0.9]], [[0.5]] * 3], KEYS), NAMES)[0]
    assert table.columns[2:] == ("Fold 0", "Fold 1", "Folds, mean ± SD", "Cases, mean ± SD", "Cases")
    spread = f"60.00 ± {np.std([30, 90], ddof=1):.2f}"
    assert table.rows[0][2:] == ("30.00", "90.00", spread, f"50.00 ± {np.std([20, 40, 90], ddof=1):.2f}", "3")


def test_empty_predictions_are_counted_below_the_scores():
    scores = make_scores([[[0.5, np.nan]], [[0.0, np.nan]]])
    scores.one_empty[1, 0, 0] = True
    notes = " ".join(score_table(scores, NAMES).notes)
    assert "2 scores are left out" in notes and "model A 0, model B 1 times" in notes


def test_difference_table_says_how_many_tests_cannot_reach_significance():
    scores = make_scores([[[0.1]] * 5, [[0.2]] * 5])
    table = difference_tables(compare(scores), scores, NAMES)[0]
    assert table.rows[0][:4] == ("x", "model B", "+10.00", "+10.00 to +10.00") and table.rows[0][6] == "5 / 0 / 0"
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
    assert list(short_names(names).values()) == short
