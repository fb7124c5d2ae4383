"""What the explainers are called, for the parameters and for people. Imports nothing: a table needs no torch."""

CONTROL = "random"
TITLES = {
    "lime": "LIME",
    "kernel_shap": "KernelSHAP",
    "gradient_shap": "GradientSHAP",
    "integrated_gradients": "Integrated Gradients",
    "grad_cam": "Grad-CAM",
    CONTROL: "random (control)",
}
MEASURES = {"deletion_auc": "deletion AUC", "insertion_auc": "insertion AUC"}  # of faithfulness
