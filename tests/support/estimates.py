"""Tests that follow a training step on tensors without data, which older PyTorch cannot."""

import pytest

from nnunet_reca.ops._torch import ESTIMATES_MEMORY

needs_estimates = pytest.mark.skipif(not ESTIMATES_MEMORY, reason="this PyTorch is too old to estimate memory")
