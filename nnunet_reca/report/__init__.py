"""Cross-validation comparison of trained models: scores per case, statistics, cost, figures and a page that holds all.

``models`` finds what nnU-Net wrote and what models have in common, ``runs`` which are seeds of one, ``gather`` what
else is known before, ``measure`` scores every case by ``metrics``, ``statistics`` pairs the ``scores`` with intervals
by ``resampling``, ``cost`` says what models took; ``tables``, ``wording`` and ``summary`` lay out, ``figures`` and
``overlays`` draw, ``page`` renders templates. Dice and cases are nnU-Net's own.
"""
