"""Colours of figures."""

__all__ = ["ACCENT", "FRONT", "GRID", "INK", "LINES", "MUTED"]

# A page swaps these five for its own, which follow the reader's light or dark scheme. Text in any
# of them has a contrast of at least 4.5 on the paper (WCAG 2.2, AA).
INK = "#1f2428"
MUTED = "#5f666d"
GRID = "#e3e6e8"
FRONT = "#0072b1"
ACCENT = "#c04d00"
# After Okabe and Ito, told apart with any colour vision, darker for a contrast of 3 on paper
LINES = ("#0072b2", "#b97700", "#00845f", "#b0558a", "#2f8fc4", "#c24f00")
