"""Memory of a training: estimated before it starts (:func:`training_memory`), and measured when it has ended."""

from nnunet_reca.memory.estimate import CARDS, RESERVE, TrainingMemory, training_memory

__all__ = ["CARDS", "RESERVE", "TrainingMemory", "training_memory"]
