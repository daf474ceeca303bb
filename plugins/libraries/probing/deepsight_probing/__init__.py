"""What probing diagnostics share: cross-fitted ridge probes, ranking within folds, calibration, words as features."""

from deepsight_probing.calibration import calibration_error, truthful_errors
from deepsight_probing.coordinates import Axes, axes
from deepsight_probing.ranking import auroc_within, bootstrap_auroc, interval
from deepsight_probing.ridge import Fit, Kernel, Split, difference_of_means, ridge, splits, standardised
from deepsight_probing.selection import Selected, select, side_by_side
from deepsight_probing.words import bag_of_characters, bag_of_words

__all__ = [
    "Axes",
    "Fit",
    "Kernel",
    "Selected",
    "Split",
    "auroc_within",
    "axes",
    "bag_of_characters",
    "bag_of_words",
    "bootstrap_auroc",
    "calibration_error",
    "difference_of_means",
    "interval",
    "ridge",
    "select",
    "side_by_side",
    "splits",
    "standardised",
    "truthful_errors",
]
