import pytest
from support.results_factory import epoch_text

from nnunet_reca.results.logs import TrainingLog, read_logs


def test_an_epochs_figures_are_read():
    log = TrainingLog()
    log.add(epoch_text(0, train=-0.125, val=2.5e-3, dice=0.5, seconds=12.25))
    epoch = log.epochs[0]
    assert (epoch.train_loss, epoch.val_loss, epoch.seconds) == (-0.125, 2.5e-3, 12.25)
    assert epoch.pseudo_dice[0] == 0.5 and len(epoch.pseudo_dice) == 2


def test_logs_follow_their_time_stamps_which_have_no_leading_zeros(tmp_path):
    (tmp_path / "training_log_2026_9_30_23_00_00.txt").write_text(epoch_text(0, train=1) + epoch_text(1, train=2))
    (tmp_path / "training_log_2026_10_1_01_00_00.txt").write_text(epoch_text(1, train=3) + epoch_text(2, train=4))
    assert {n: e.train_loss for n, e in read_logs(tmp_path).epochs.items()} == {0: 1, 1: 3, 2: 4}


def test_a_training_that_starts_anew_forgets_the_old_one(tmp_path):
    (tmp_path / "training_log_2026_1_1_00_00_00.txt").write_text("".join(epoch_text(n) for n in range(5)))
    (tmp_path / "training_log_2026_1_2_00_00_00.txt").write_text(epoch_text(0, train=7))
    assert {n: e.train_loss for n, e in read_logs(tmp_path).epochs.items()} == {0: 7}


@pytest.mark.parametrize(("text", "gib"), [("12.50 GiB", 12.5), ("2048 MiB", 2.0), ("10.737 GB", 10.0)])
def test_peak_memory_is_known_only_where_a_line_tells_it(text, gib):
    log = TrainingLog()
    log.add(epoch_text(0))
    assert log.peak_memory is None
    log.add(f"2026-01-01 00:00:00.0: Peak GPU memory: {text} \n")
    assert log.peak_memory == pytest.approx(gib, rel=1e-4)


def test_a_folder_without_logs_has_no_epochs(tmp_path):
    assert read_logs(tmp_path).epochs == {}
