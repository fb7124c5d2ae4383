"""The terms of the report, each explained once: a link in the text leads to its entry, and shows it beside the word."""

from markupsafe import Markup

from glassbox.explainers.catalog import CONTROLS, TITLES
from glassbox.xai_metrics.catalog import MEASUREMENTS

_OF_EXPLAINERS = {
    "lime": "Hides random sets of regions and fits a linear model to the answers: a region's weight is its value "
    "(Ribeiro et al. 2016).",
    "kernel_shap": "Shapley values of the image's regions: a region's mean effect on the probability over all orders "
    "in which regions may be shown. They add up to the prediction (Lundberg & Lee 2017).",
    "partition_shap": "Owen values: Shapley values of a tree of rectangles, from halves of the image downwards (shap's "
    "PartitionExplainer).",
    "gradient_shap": "Mean of gradient times difference, at random points between the image and training images "
    "(Erion et al. 2021).",
    "integrated_gradients": "The gradient, averaged on the straight path from a baseline image to the image, times the "
    "difference of the two (Sundararajan et al. 2017).",
    "grad_cam": "The last convolutional layer's channels, weighted by their mean gradients (Selvaraju et al. 2017).",
    "libra_grad": "Gradient times input, with the gradients of attention and normalisation made faithful (LibraGrad), "
    "for transformers.",
    "occlusion": "The fall of the probability while a square is covered (Zeiler & Fergus 2014).",
    "rise": "The mean probability over random masks, by pixel that they show (Petsiuk et al. 2018).",
}
_OF_CONTROLS = {
    "random": "A control: a random value for each pixel.",
    "smooth_random": "A control: random values, as smooth as Grad-CAM's maps.",
    "region_random": "A control: a random value for each of the image's regions, as coarse as LIME's maps.",
    "edges": "A control: the strength of the image's edges.",
    "brightness": "A control: the brightness of each pixel.",
    "centre": "A control: a bell-shaped hill in the middle of the image.",
}
_OF_MEASURES = {
    "deletion_auc": "Pixels are removed, the strongest of a map first. The area under the curve of the class's "
    "probability; low if the map ranks first what the model needs (Petsiuk et al. 2018).",
    "insertion_auc": "Pixels are put back into a blurred image, the strongest of a map first. The area under the curve "
    "of the probability; high if the map ranks first what the model needs (Petsiuk et al. 2018).",
    "road": "Shares of the pixels are removed, the least important and the most important first, and filled in from "
    "their neighbours; the difference of the probabilities (Rong et al. 2022).",
    "faithfulness_correlation": "Correlation, over random sets of hidden cells, of the map's sum in them with the fall "
    "of the probability (Bhatt et al. 2020).",
    "excess_relevance_mass": "Share of the positive attribution inside the mask, less the share of the image that the "
    "mask covers.",
    "excess_rank_accuracy": "Share of the strongest pixels, as many as the mask has, that lie inside it, less the "
    "share of the image that it covers.",
    "excess_pointing_game": "Whether the strongest pixel lies inside the mask, less the share of the image that it "
    "covers.",
    "earth_movers_distance": "How far the positive attribution must be moved to lie evenly on the mask.",
    "max_sensitivity": "Largest change of a map under small noise on the image (Yeh et al. 2019).",
    "brightness_sensitivity": "Change of a map when the image becomes brighter or darker and the prediction stays.",
    "shift_sensitivity": "Change of a map, moved back, when the image is shifted and the prediction stays.",
    "attack_sensitivity": "Largest change of a map that an attack on the map finds, while the prediction stays "
    "(Ghorbani et al. 2019).",
    "emprt": "Whether maps become more complex when the network loses its learnt weights, as they must if they depend "
    "on these (Hedström et al. 2024).",
    "gini": "How concentrated a map is on few pixels, 0 to 1; it ranks nothing.",
}
_OTHERS = {
    "accuracy": ("accuracy", "Share of the test images whose class is predicted right."),
    "balanced": (
        "balanced accuracy",
        "Mean over the classes of the share that is recognised: each class counts the "
        "same, however many images it has.",
    ),
    "interval": (
        "interval",
        "A range in which the true value lies, for as many of such studies as the level says. It "
        "is about other images of the same kind, not about another training.",
    ),
    "macro": ("macro F1", "The F1 score, harmonic mean of precision and recall, averaged over the classes."),
    "ece": (
        "calibration error (ECE)",
        "Expected calibration error: how far confidence and accuracy are apart, in bins "
        "of confidence, on average over the images.",
    ),
    "log_loss": ("log loss", "Mean of -ln of the true class's probability, in nats; lower is better."),
    "brier": ("Brier score", "Mean squared error of the probabilities of all classes; lower is better."),
    "temperature": (
        "temperature scaling",
        "All logits are divided by one number, fitted on the validation images, so "
        "that confidence agrees with accuracy.",
    ),
    "explainer": ("explainer", "A method that gives every pixel of an image a value for a class: its attribution."),
    "attribution": (
        "attribution",
        "A pixel's value in a map: positive where it speaks for the class, negative where it speaks against it.",
    ),
    "control": (
        "control",
        "A map that does not depend on the trained model. An explainer that is not better than "
        "controls has shown nothing about the model.",
    ),
    "trustworthy": (
        "most trustworthy explainer",
        "Better than every control by most measures and, of the explainers that are so by any, better than each other "
        "one by more measures than worse. Otherwise undecided.",
    ),
    "faithfulness": ("faithfulness", "Whether the prediction depends on the pixels that a map marks."),
    "localization": ("localization", "Whether a map lies on the mask of the evidence."),
    "robustness": ("robustness", "How little maps change when images change and predictions do not."),
    "holm": (
        "corrected",
        'By Holm\'s method (1979): the chance of even one wrong "better" or "worse" in this report is at most 5 %.',
    ),
    "undecided": (
        "undecided",
        "The test finds no difference on so many images. That does not mean that there is none.",
    ),
    "mean_rank": (
        "mean rank",
        "An explainer's place among the explainers on an image, 1 for the best, averaged over "
        "images, and here over the measures of faithfulness and localization that rank.",
    ),
    "mask": ("mask", "The pixels of an image that are marked as the evidence of its class."),
    "region": (
        "region",
        "A connected part of an image of similar colour, or a square, that is hidden or shown as a whole (superpixel).",
    ),
    "local_r2": (
        "local R²",
        "Share of the variation of the answers that LIME's linear model explains; near 0 its weights mean little.",
    ),
    "completeness": (
        "completeness error",
        "By how much the values of Integrated Gradients miss the sum that they must have.",
    ),
    "base_value": ("base value", "The probability of the class with every region hidden."),
    "forward": ("forward pass", "One image through the network."),
    "backward": ("backward pass", "The gradients of one image through the network."),
}
TERMS = {
    **_OTHERS,
    **{name: (TITLES[name], text) for name, text in _OF_EXPLAINERS.items()},
    **{name: (CONTROLS[name], text) for name, text in _OF_CONTROLS.items()},
    **{name: (MEASUREMENTS[name], text) for name, text in _OF_MEASURES.items()},
}
TITLES_OF_ALL = {**TITLES, **CONTROLS, **MEASUREMENTS}  # an explainer or a measure that was added may have no entry


def term(key: str, text: str = "") -> Markup:
    """A link from a word, its own or `text`, to the entry of a term; the word alone where there is none."""
    if key not in TERMS:
        return Markup("{}").format(text or TITLES_OF_ALL[key])
    return Markup('<a class="term" href="#term-{}">{}</a>').format(key, text or TERMS[key][0])


def entries() -> list[tuple[str, str, str]]:
    """All terms with key, word and explanation, by the alphabet."""
    return sorted(((key, *entry) for key, entry in TERMS.items()), key=lambda entry: entry[1].lower())
