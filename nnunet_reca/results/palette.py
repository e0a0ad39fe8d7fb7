"""Colours, markers and lines of all figures, told apart in print and by colour-blind readers (Okabe and Ito 2008)."""

#: Of models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Of labels on a grey image, those first that stand out from it.
ON_GREY = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
