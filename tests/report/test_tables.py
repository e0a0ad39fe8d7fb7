import re

import pytest

from nnunet_reca.report.tables import Table, html_table, latex, markdown, transposed

TABLE = Table(
    "key",
    "50 % of a_b",
    ("Model", "Dice (%) ↑", "p"),
    (("a_b|c", "1 ± 2", "<0.001"), ("d&e", "−3", "0.5")),
    best=frozenset({(0, 1)}),
    notes=("A note.",),
)


def test_markdown_escapes_its_own_signs_and_keeps_every_cell():
    lines = markdown(TABLE).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| Model | Dice (%) ↑ | p |" and rows[2] == r"| a\_b\|c | **1 ± 2** | <0.001 |"
    assert lines[-1] == "A note."


def test_latex_escapes_its_own_signs():
    text = latex(TABLE)
    assert r"\textbf{1 $\pm$ 2} & $<$0.001 \\" in text and r"d\&e & $-$3 & 0.5 \\" in text
    assert r"\caption{50 \% of a\_b}" in text and r"\begin{tabular}{lrr}" in text
    assert not re.search(r"(?<!\\)[%_#]", text.replace(r"\begin", ""))


def test_html_escapes_what_a_name_brings():
    text = html_table(Table("k", "<script>", ("M",), (("<b>&x",),)))
    assert "&lt;script&gt;" in text and "&lt;b&gt;&amp;x" in text and "<script>" not in text


def test_transposing_twice_gives_the_table_back():
    again = transposed(transposed(TABLE))
    assert (again.columns, again.rows, again.best) == (TABLE.columns, TABLE.rows, TABLE.best)
    assert transposed(TABLE).rows[0] == ("Dice (%) ↑", "1 ± 2", "−3") and (0, 1) in transposed(TABLE).best


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="expected 2 cells"):
        Table("k", "t", ("a", "b"), (("only",),))
