from importlib import import_module

from glassbox.xai_metrics.catalog import FAMILIES
from glassbox.xai_metrics.intervention import CORRECTION, DISCRIMINATION

LOWER = {"deletion_auc", "earth_movers_distance"} | {
    f"{change}_sensitivity" for change in ("max", "brightness", "shift", "attack")
}
UNRANKED = {"emprt", "gini"}


def test_every_metric_declares_its_title_direction_property_and_citation():
    for family, titles in FAMILIES.items():
        metrics = import_module(f"glassbox.xai_metrics.{family}").METRICS
        assert {metric.name for metric in metrics} == set(titles)
        for metric in metrics:
            direction = "lower is better" if metric.name in LOWER else "higher is better"
            assert metric.direction == ("unranked" if metric.name in UNRANKED else direction), metric
            assert metric.property
            assert " 20" in metric.citation, "author and year"
    assert CORRECTION.direction == DISCRIMINATION.direction == "higher is better"
