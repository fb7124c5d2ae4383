"""What the explainers are called, for the parameters and for people. Imports nothing: a table needs no torch."""

CONTROL = "random"
TITLES = {
    "lime": "LIME",
    "kernel_shap": "KernelSHAP",
    "partition_shap": "PartitionSHAP",
    "gradient_shap": "GradientSHAP",
    "integrated_gradients": "Integrated Gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "Occlusion",
    CONTROL: "random (control)",
}
TOLERANCE = 1e-3  # largest error of additivity, in probability, of a map that may be shown
MEASURES = {"deletion_auc": "deletion AUC", "insertion_auc": "insertion AUC"}  # of faithfulness


def analyst(explainers: "tuple[str, ...]") -> str:
    """The explainer whose maps the analyses look at: KernelSHAP, as in the ResNet-50 paper, or else the first."""
    return "kernel_shap" if "kernel_shap" in explainers else explainers[0]
