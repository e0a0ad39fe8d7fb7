import re

import pandas as pd

from nnunet_reca.report.page import latex, markdown, tables_html
from nnunet_reca.report.tables import Table, transposed


def table(columns, *rows, **options):
    return Table("key", "50 % of a_b", pd.DataFrame(rows, columns=columns), **options)


TABLE = table(
    ["Model", "Dice (%) ↑", "p"],
    ("a_b|c", "1 ± 2", "<0.001"),
    ("d&e", "−3", "0.5"),
    best=frozenset({(0, 1)}),
    notes=("A note of 5 %.",),
)


def test_markdown_escapes_its_own_signs_and_keeps_every_cell():
    lines = markdown(TABLE).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows == [
        "| Model | Dice (%) ↑ | p |",
        "| --- | ---: | ---: |",
        r"| a\_b\|c | **1 ± 2** | <0.001 |",
        "| d&e | −3 | 0.5 |",
    ]
    assert lines[0] == r"**50 % of a\_b**" and lines[1] == lines[-2] == "" and lines[-1] == "A note of 5 %."


def test_latex_escapes_its_own_signs():
    text = latex(TABLE)
    assert r"\textbf{1 $\pm$ 2} & $<$0.001 \\" in text and r"d\&e & $-$3 & 0.5 \\" in text
    assert r"\caption{50 \% of a\_b}" in text and r"\begin{tabular}{lrr}" in text and r"\label{tab:key}" in text
    assert r"Model & Dice (\%) $\uparrow$ & p \\" in text and r"\toprule" in text
    assert not re.search(r"(?<!\\)[%_#]", text)
    assert text.index(r"\end{tabular}") < text.index(r"\footnotesize A note of 5 \%.") < text.index(r"\end{table}")


def test_html_escapes_what_a_name_brings():
    text = tables_html([table(["M", "<i>"], ("<b>&x", "<script>"))])
    assert "&lt;script&gt;" in text and "&lt;b&gt;&amp;x" in text and "&lt;i&gt;" in text
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text


def test_html_has_headings_for_names_and_bold_for_the_best():
    text = tables_html([TABLE])
    assert "<th scope=row>a_b|c</th>" in text and "<td><b>1 ± 2</b></td>" in text and "<td>−3</td>" in text


def test_transposing_twice_gives_the_table_back():
    again = transposed(transposed(TABLE, "corner"), "Model")
    assert again.frame.equals(TABLE.frame) and again.best == TABLE.best
    turned = transposed(TABLE, "")
    assert turned.frame.iloc[0].tolist() == ["Dice (%) ↑", "1 ± 2", "−3"] and (0, 1) in turned.best


def test_labels_called_like_a_heading_or_like_each_other_are_columns_of_their_own():
    turned = transposed(table(["Model", "Model", "x", "x"], ("A", "1", "2", "3")), "")
    assert turned.frame.to_numpy().tolist() == [["Model", "1"], ["x", "2"], ["x", "3"]]
    assert markdown(table(["Model", "Model"], ("A", "1"))).count("Model") == 2
    assert "A & 1" in latex(table(["Model", "Model"], ("A", "1")))
