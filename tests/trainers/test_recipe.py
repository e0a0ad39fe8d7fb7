import pytest
import torch
from torch import nn

from nnunet_reca.blocks import SwinStage
from nnunet_reca.trainers.recipe import BASE, EpochSchedule, Recipe, build_optimizer, parameter_groups


def test_learning_rate_rises_over_the_warmup_peaks_once_and_decays():
    recipe = Recipe(initial_lr=1.0)
    rates = [recipe.learning_rate(e, 1000) for e in range(1000)]
    assert rates[:50] == pytest.approx([(e + 1) / 51 for e in range(50)])
    assert rates.index(max(rates)) == 50 and rates[50] == 1.0
    assert rates[525] == pytest.approx(0.5**0.9)
    assert 0 < rates[-1] < 0.01 and sorted(rates[50:], reverse=True) == rates[50:]


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_short_trainings_train_too(epochs):
    rates = [BASE.learning_rate(e, epochs) for e in range(epochs)]
    assert all(0 < r <= BASE.initial_lr for r in rates)
    assert epochs == 2 or max(rates) == BASE.initial_lr


def test_schedule_depends_on_the_epoch_alone():
    """nnU-Net does not save the scheduler: a resumed training must find the rate of its epoch."""
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(layer, BASE)
    schedule = EpochSchedule(optimizer, BASE, 100)
    for epoch in (0, 1, 2, 60):
        schedule.step(epoch)
    resumed = build_optimizer(layer, BASE)
    EpochSchedule(resumed, BASE, 100).step(60)
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in resumed.param_groups]
    assert optimizer.param_groups[0]["lr"] == BASE.learning_rate(60, 100)
    assert schedule.get_last_lr() == [BASE.learning_rate(60, 100)] * 2


def test_gates_do_not_decay_and_a_chain_of_one_layer_has_none():
    for depth, gates in ((3, 1), (1, 0)):
        stage = SwinStage(12, depth, 3, (3, 3), carry="gated")
        decayed, plain = (group["params"] for group in parameter_groups(stage, 0.1))
        assert len(decayed) + len(plain) == len(list(stage.parameters()))
        assert sum(any(p is gate for p in plain) for gate in stage.carry.parameters()) == gates


def test_norms_biases_and_bias_tables_do_not_decay():
    stage = SwinStage(12, 1, 3, (3, 3))
    decayed, plain = parameter_groups(stage, 0.05)
    names = {id(p): n for n, p in stage.named_parameters()}
    assert {names[id(p)].split(".", 2)[2] for p in decayed["params"]} == {
        "attn.qkv.weight",
        "attn.proj.weight",
        "mlp.fc1.weight",
        "mlp.fc2.weight",
    }
    assert "blocks.0.attn.relative_position_bias_table" in {names[id(p)] for p in plain["params"]}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    assert decayed["weight_decay"] == 0.05 and plain["weight_decay"] == 0


@pytest.mark.parametrize(("factor", "expected"), [(100.0, 1.0), (0.01, 0.01)])
def test_step_clips_the_gradient_to_the_recipes_norm(factor, expected):
    layer = nn.Linear(3, 5)
    optimizer = build_optimizer(layer, BASE)
    direction = torch.randn(20)
    direction *= factor / direction.norm()
    layer.weight.grad, layer.bias.grad = direction[:15].view(5, 3).clone(), direction[15:].clone()
    optimizer.step()
    norm = torch.cat([layer.weight.grad.flatten(), layer.bias.grad]).norm().item()
    assert norm == pytest.approx(expected, rel=1e-4)
