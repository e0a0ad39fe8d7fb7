"""Cross-validation comparison of trained models: scores per case, statistics, cost, figures and a page that holds all.

``models`` finds and checks what nnU-Net wrote, ``agreement`` what models have in common, ``scores`` measures every case
(``metrics``), ``statistics`` pairs them, ``cost`` and ``logs`` say what they took; ``content`` lays out ``tables``,
``figures`` and ``overlays`` draw, ``page`` and ``output`` write. Dice and the cases are nnU-Net's own.
"""
