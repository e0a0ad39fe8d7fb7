"""Cross-validation comparison of trained models: scores per case, statistics, cost, figures and a page that holds all.

``models`` finds what nnU-Net wrote and what models have in common, ``gather`` what else is known before, ``measure``
scores every case by ``metrics``, ``statistics`` pairs the ``scores``, ``cost`` says what models took; ``tables`` and
``wording`` lay out, ``figures`` and ``overlays`` draw, ``page`` renders templates. Dice and cases are nnU-Net's own.
"""
