"""Titles of the metrics of explanations. Separate from the explainers' titles, so that a new metric reruns no
explanation."""

FAMILIES = {  # name of the file in xai_metrics/: titles of its metrics in the scorecard
    "faithfulness": {"deletion_auc": "deletion AUC", "insertion_auc": "insertion AUC"},
    "road": {"road": "ROAD"},
    "correlation": {"faithfulness_correlation": "faithfulness correlation"},
    "localization": {
        "excess_relevance_mass": "excess relevance mass",
        "excess_rank_accuracy": "excess rank accuracy",
        "excess_pointing_game": "excess pointing game",
        "earth_movers_distance": "earth mover's distance",
    },
    "sensitivity": {
        "max_sensitivity": "max-sensitivity",
        "brightness_sensitivity": "sensitivity to brightness",
        "shift_sensitivity": "sensitivity to shifts",
        "attack_sensitivity": "sensitivity to attacks",
    },
    "randomization": {"emprt": "eMPRT"},
    "sparseness": {"gini": "Gini index"},
}
MEASUREMENTS = {metric: title for family in FAMILIES.values() for metric, title in family.items()}
