"""Names and titles of explainers and controls; a new explainer is a file and a line here. Imports nothing: a table
needs no torch."""

CONTROL, STRONGEST = "random", "strongest_control"  # the second stands in MLflow for the control with the best mean
TITLES = {  # of explainers, by name: that of their file in explainers/
    "lime": "LIME",
    "kernel_shap": "Shapley values (superpixels)",
    "partition_shap": "PartitionSHAP",
    "gradient_shap": "GradientSHAP",
    "integrated_gradients": "Integrated Gradients",
    "grad_cam": "Grad-CAM",
    "libra_grad": "LibraGrad",
    "occlusion": "Occlusion",
    "rise": "RISE",
    CONTROL: "random (control)",
}
BLACK_BOX = ("lime", "kernel_shap", "partition_shap", "occlusion", "rise")  # need nothing but the model's answers
# Kinds of subjects of the scorecard: explainers, controls, and explainers of the network before training or with the
# common number of forward passes.
EXPLAINER, CONTROLLED, UNTRAINED, MATCHED = "explainer", "control", "untrained", "matched"
CONTROLS = {  # of the scorecard, besides each explainer on an untrained network
    CONTROL: "random",
    "smooth_random": "smooth random",
    "region_random": "random regions",
    "edges": "Sobel edges",
    "brightness": "|x|",
    "centre": "centred Gaussian",
}
EXPLAINERS = tuple(name for name in TITLES if name != CONTROL)
UNITS = {  # of the maps, where a figure states them; see the explainers' own docstrings
    "lime": "probability",
    "kernel_shap": "probability",
    "partition_shap": "probability",
    "gradient_shap": "logit",
    "integrated_gradients": "logit",
    "grad_cam": "logit",
    "libra_grad": "logit",
    "occlusion": "probability",
    "rise": "probability",
}
TOLERANCE = 1e-3  # largest error of additivity, in probability, of a map that may be shown


def control_of(name: str) -> str:
    """The control that a name in ranking.json means: one of `CONTROLS`, or UNTRAINED for an explainer's own maps of an
    untrained network, whose name there has the explainer's name after it."""
    return UNTRAINED if name.startswith(UNTRAINED) else name


def title_of(name: str) -> str:
    """The title of an explainer or a control of the scorecard."""
    return CONTROLS.get(name) or TITLES[name]


def analyst(explainers: tuple[str, ...]) -> str:
    """The explainer whose maps are analysed: Shapley values, as in the ResNet-50 paper, or else the first."""
    return "kernel_shap" if "kernel_shap" in explainers else explainers[0]
