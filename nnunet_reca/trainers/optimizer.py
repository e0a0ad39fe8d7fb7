"""AdamW whose steps clip gradients, and skip those that are not finite: within its one fused pass where it has one.

nnU-Net clips to 12 after unscaling and before the step; clipping in a hook of the step makes that the recipe's norm and
leaves nnU-Net's ``train_step`` alone. The fused kernel divides gradients by ``grad_scale`` and does nothing where
``found_inf`` is 1; both are tensors on the device, with which ``torch.amp.GradScaler`` talks to it, too. So the host
never waits for the norm, and no pass over the gradients is spent on clipping.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnunet_reca.ops._torch import total_norm

#: device types whose fused AdamW knows ``grad_scale`` and ``found_inf``
FUSED = frozenset({"cpu", "cuda"})


def clipped_adamw(
    groups: Sequence[dict[str, Any]], *, lr: float, betas: tuple[float, float], gradient_norm: float
) -> Optimizer:
    """AdamW whose steps clip the gradients first, and change neither parameters nor state where these are not finite.

    A checkpoint of its state loads whichever implementation wrote it.

    Args:
        groups: parameter groups.
        lr: learning rate.
        betas: decay of the moments.
        gradient_norm: largest norm of all gradients together.
    """
    fused = {p.device.type for group in groups for p in group["params"]} <= FUSED
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused or None)
    if fused:
        scaling = _ClipInStep(gradient_norm)
        optimizer.register_step_pre_hook(scaling.before)
        optimizer.register_step_post_hook(scaling.after)
    else:
        optimizer.register_step_pre_hook(_ClipBeforeStep(gradient_norm))

    def keep_implementation(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The groups of the checkpoint name the implementation that wrote it."""
        chosen = [{**group, "fused": fused or None, "foreach": None} for group in state["param_groups"]]
        return {**state, "param_groups": chosen}

    optimizer.register_load_state_dict_pre_hook(keep_implementation)
    return optimizer


class _ClipInStep:
    """Hooks of a fused optimizer's step: they tell it what to divide the gradients by, and whether to do anything."""

    def __init__(self, gradient_norm: float) -> None:
        self.gradient_norm = gradient_norm
        self.given: dict[str, Tensor | None] = {}
        self.ours: dict[str, Tensor] = {}

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        there = {name: vars(optimizer)[name] for name in ("grad_scale", "found_inf") if name in vars(optimizer)}
        # ours are those of a step that failed
        self.given = {name: value for name, value in there.items() if value is not self.ours.get(name, optimizer)}
        gradients = _aligned_gradients(optimizer)
        if not gradients:
            return
        scale, found_inf = self.given.get("grad_scale"), self.given.get("found_inf")
        norm = total_norm(gradients).float()
        least = 1.0 if scale is None else scale
        bad = norm.isfinite().logical_not()
        self.ours = {
            "grad_scale": (norm / self.gradient_norm).clamp(min=least),
            "found_inf": (bad if found_inf is None else bad.logical_or(found_inf)).float(),
        }
        vars(optimizer).update(self.ours)

    def after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The gradient scaler takes its own tensors away after the step."""
        for name in ("grad_scale", "found_inf"):
            vars(optimizer).pop(name, None)
        vars(optimizer).update(self.given)
        self.given, self.ours = {}, {}


class _ClipBeforeStep:
    """Hook of other optimizers' step: clips the gradients, and drops them where they are not finite."""

    def __init__(self, gradient_norm: float) -> None:
        self.gradient_norm = gradient_norm

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.gradient_norm)
        if not norm.isfinite():
            for parameter in parameters:
                parameter.grad = None


def _aligned_gradients(optimizer: Optimizer) -> list[Tensor]:
    """All gradients; they and the state get their parameter's strides, which the fused kernel on the CPU relies upon.

    They differ where a checkpoint comes from a device with another memory format.
    """
    gradients = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if parameter.grad.stride() != parameter.stride():
                parameter.grad = _with_strides_of(parameter, parameter.grad)
            state: Mapping[str, Tensor] = optimizer.state.get(parameter, {})
            for name in ("exp_avg", "exp_avg_sq"):
                if name in state and state[name].stride() != parameter.stride():
                    optimizer.state[parameter][name] = _with_strides_of(parameter, state[name])
            gradients.append(parameter.grad)
    return gradients


def _with_strides_of(parameter: Tensor, value: Tensor) -> Tensor:
    """``value``, laid out in memory like its parameter; a copy only where the order of elements is another one."""
    strides = zip(parameter.shape, parameter.stride(), value.stride(), strict=True)
    if all(wanted == stride for size, wanted, stride in strides if size != 1):
        return value.as_strided(parameter.shape, parameter.stride())
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
