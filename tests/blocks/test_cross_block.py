import pytest
import torch

from nnunet_reca.blocks import SwinCrossBlock, drop_path_rates


def test_cross_attention_looks_no_further_than_its_window():
    """Maps of (5, 7) in windows of (3, 2): a changed context token moves only the queries of its own window."""
    torch.manual_seed(0)
    block = SwinCrossBlock(6, 2, (3, 2)).eval()
    query, context = torch.randn(2, 1, 5, 7, 6).unbind(0)
    changed = context.clone()
    changed[0, 4, 2] = torch.randn(6)
    moved = (block(query, changed) - block(query, context)).abs().amax(dim=(0, 3)) > 1e-6
    assert moved.nonzero().tolist() == [[3, 2], [3, 3], [4, 2], [4, 3]]


def test_cross_block_without_attention_and_mlp_adds_query_and_context():
    block = SwinCrossBlock(4, 2, (2, 3, 2))
    for layer in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    query, context = torch.randn(2, 2, 3, 5, 4, 4).unbind(0)
    assert torch.equal(block(query, context), query + context)


def test_drop_path_rates_rise_linearly_over_all_stages():
    assert drop_path_rates(0.2, [1, 2, 2]) == [[0.0], pytest.approx([0.05, 0.1]), pytest.approx([0.15, 0.2])]
    assert drop_path_rates(0.2, [1]) == [[0.0]]
