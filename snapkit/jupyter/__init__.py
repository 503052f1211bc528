"""Where snapkit meets Jupyter. Nothing of Jupyter is imported before it is used."""

from snapkit.jupyter.charts import Chart, bar_chart, growth_chart, timeline_chart
from snapkit.jupyter.lab import lab_command, lab_environment, prepare_lab, shared

__all__ = [
    "Chart",
    "bar_chart",
    "growth_chart",
    "lab_command",
    "lab_environment",
    "prepare_lab",
    "shared",
    "timeline_chart",
]
