import pytest
import torch

from nnunet_reca.ops import bias_table_rows, relative_position_index


def test_index_of_a_two_by_two_window_by_hand():
    # offsets run from (-1, -1) = row 0 to (1, 1) = row 8; a token and itself: (0, 0) = row 4
    assert relative_position_index((2, 2)).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


@pytest.mark.parametrize("window", [(3, 5), (2, 3, 4)])
def test_each_offset_has_its_own_row(window):
    index = relative_position_index(window)
    tokens = torch.cartesian_prod(*(torch.arange(w) for w in window))
    offsets = (tokens[:, None] - tokens[None, :]).flatten(0, 1)
    pairs = torch.cat([offsets, index.flatten()[:, None]], dim=1).unique(dim=0)
    assert len(pairs) == len(offsets.unique(dim=0)) == bias_table_rows(window) == len(index.unique())
    assert index.min() == 0 and index.max() == bias_table_rows(window) - 1


@pytest.mark.parametrize(("window", "table"), [((2, 3), (4, 7)), ((2, 2, 5), (3, 7, 5))])
def test_shrunk_window_keeps_the_rows_of_its_offsets(window, table):
    tokens = torch.cartesian_prod(*(torch.arange(w) for w in window))
    ranks = torch.zeros(len(tokens), dtype=torch.long)
    for axis, side in enumerate(table):
        ranks = ranks * side + tokens[:, axis]
    expected = relative_position_index(table)[ranks][:, ranks]
    assert torch.equal(relative_position_index(window, table), expected)


def test_cropped_index_is_exact_only_where_just_the_first_axis_shrank():
    def index(window, scheme):
        return relative_position_index(window, (7, 7, 7), scheme=scheme)

    assert torch.equal(index((4, 7, 7), "exact"), index((4, 7, 7), "cropped"))
    wrong = (index((6, 6, 6), "exact") != index((6, 6, 6), "cropped")).float().mean()
    assert 0.97 < wrong < 0.98


@pytest.mark.parametrize(("side", "reached"), [(4, 115), (8, 547)])
def test_nnformer_index_reaches_the_published_number_of_rows(side, reached):
    assert len(relative_position_index((side,) * 3, scheme="nnformer").unique()) == reached


def test_window_larger_than_the_table_raises():
    with pytest.raises(ValueError, match=r"no larger than the bias table's \(7, 5\), got \(7, 6\)"):
        relative_position_index((7, 6), (7, 5))


def test_nnformer_index_outside_3d_raises():
    with pytest.raises(ValueError, match="3D window"):
        relative_position_index((4, 4), scheme="nnformer")


def test_index_of_a_shrunk_window_compiles_without_a_graph_break():
    compiled = torch.compile(relative_position_index, fullgraph=True, backend="eager")
    assert torch.equal(compiled((2, 3, 1), (2, 5, 3)), relative_position_index((2, 3, 1), (2, 5, 3)))


def test_unknown_scheme_raises():
    with pytest.raises(ValueError, match="got 'crop'"):
        relative_position_index((2, 2), scheme="crop")
