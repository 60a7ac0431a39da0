"""The figures of the paper that claims may be of: what each reports, as far as the main text tells."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "Cheon, Lee and Paik (2024), arXiv 2405.16731"
LATER = "the same authors' later work, arXiv 2412.17411"


@dataclass(frozen=True)
class PaperFigure:
    """A figure or table.

    title: its place in the paper, and what it is about.
    reported: what is measured and reported there, in a sentence.
    source: the work that it is of.
    test: the statistical test used there; empty where it is not known to us.
    """

    title: str
    reported: str
    source: str = PAPER
    test: str = "t-test"


FIGURES: dict[str, PaperFigure] = {
    "figure_1": PaperFigure(
        "Figure 1: noise aligns weights with feedback",
        "Reported of the last layer of a 784-100-10 network: the angle of each hidden unit's outgoing weights with its "
        "feedback is 90° before noise and smaller after, it decreases asymptotically, and this holds under other "
        "distributions of inputs.",
    ),
    "figure_2": PaperFigure(
        "Figure 2: noise before data",
        "Reported of 784-100-10 networks on a subset of MNIST: learning is faster with noise than without, and near "
        "backprop's; noise, then data, ends nearest to the feedback; noise after data changes nothing.",
    ),
    "figure_3": PaperFigure(
        "Figure 3: accuracy of deeper networks",
        "Reported of networks of several depths: noise narrows the gap between feedback alignment and backprop in the "
        "final test accuracy.",
    ),
    "table_1": PaperFigure(
        "Table 1: accuracy on other datasets",
        "Reported on MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and STL-10, three trials each: noise narrows the gap "
        "between feedback alignment and backprop in the final test accuracy.",
    ),
    "figure_4": PaperFigure(
        "Figure 4: readouts, dimensionality and generalization",
        "Reported: readout probabilities differ from chance before noise and not after (a, b); the effective rank of "
        "weights falls through noise (c, d); after noise, the gap of training and test error is smaller (e, f), and so "
        "is the effective rank of features after data (g, h).",
        test="t-test; of readout probabilities against chance, Wilcoxon's signed-rank test",
    ),
    "figure_5": PaperFigure(
        "Figure 5: images out of distribution",
        "Reported of networks trained on MNIST: accuracy on translated, scaled and rotated MNIST and on USPS is higher "
        "after noise.",
    ),
    "figure_6": PaperFigure(
        "Figure 6: the meta-loss over whole datasets",
        "Reported of networks of three layers on MNIST, Fashion-MNIST and KMNIST: the sum of the losses measured while "
        "a network learns each dataset falls as noise training goes on, and adaptation gets faster.",
    ),
    "calibration": PaperFigure(
        "Calibration (later work)",
        "Measured there of networks after noise and data: the expected calibration error over 10 bins, and how well "
        "the largest readout probability tells images out of distribution.",
        source=LATER,
        test="",
    ),
}
"""In the order of the paper. What is not said there, such as rates and numbers of steps, is not known to us."""
