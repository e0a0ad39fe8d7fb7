"""What a training says about memory before it starts."""

from collections.abc import Callable

from nnunet_reca.memory.estimate import TrainingMemory


def memory_warning(estimate: Callable[[], TrainingMemory], free: Callable[[], tuple[int, int]]) -> str | None:
    """A line for the log if a training step may not fit the card, or if that is not known.

    A training is worth more than its estimate: whatever goes wrong here is told, and never raised.

    Args:
        estimate: the memory of its step.
        free: bytes that are free for it on the card, and all the card has.

    Returns:
        The line; None where the estimate is below what is free.
    """
    try:
        total, (available, capacity) = estimate().total, free()
    except Exception as error:  # a trainer of somebody's own may do anything in its network and loss
        reason = (str(error).splitlines() or [""])[0]
        return f"Memory of a training step not estimated: {type(error).__name__}: {reason}"
    if total <= available:
        return None
    return (
        f"WARNING: a training step takes about {total / 1e9:.1f} GB by estimate, and {available / 1e9:.1f} of "
        f"{capacity / 1e9:.1f} GB are free on the card. If it runs out of memory: add _checkpoint to the trainer's "
        "name where it has none, or plan for this card (nnUNetv2_reca_plan -gpu_memory_target)"
    )
