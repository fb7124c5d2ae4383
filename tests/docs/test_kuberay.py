"""docs/kuberay.yaml is valid for KubeRay and Kubernetes, and Ray reads from it what docs/cluster.md describes."""

import functools
import json
import operator
from importlib.metadata import version
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

SCHEMA = json.loads(Path(__file__).with_name("raycluster.json").read_text())


@pytest.fixture
def manifest() -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / "docs/kuberay.yaml").read_text())


def check(manifest: dict) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(manifest)
    spec = manifest["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_it_keeps_to_the_schemas(manifest):
    check(manifest)


HEAD = ["spec", "headGroupSpec"]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (["spec", "workerGroupSpecs", 0], "maxReplica", 8),  # misspelt
        (["spec", "authOptions"], "mode", "password"),  # no such mode
        ([*HEAD, "rayStartParams"], "num-cpus", 0),  # a number instead of text
        ([*HEAD, "template", "spec", "containers", 0], "name", None),  # no text
        (["spec", "workerGroupSpecs", 0, "template", "spec", "containers", 0], "volumesMounts", []),  # misspelt
    ],
)
def test_what_the_schemas_refuse(manifest, path, key, value):
    functools.reduce(operator.getitem, path, manifest)[key] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(manifest)


def test_rays_autoscaler_reads_what_the_page_says(manifest):
    """Ray's own reader of such a manifest, which the operator starts beside the head."""
    config = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    manifest["metadata"]["namespace"] = "default"
    read = config._derive_autoscaling_config_from_ray_cr(manifest)
    head, workers = (read["available_node_types"][name] for name in ("headgroup", "gpu"))
    assert head["resources"]["CPU"] == 0
    assert workers["resources"] | {"memory": 0} == {"CPU": 8, "GPU": 1, "memory": 0}
    assert (workers["min_workers"], workers["max_workers"]) == (0, 8)
    assert read["idle_timeout_minutes"] == 5
    assert manifest["spec"]["rayVersion"] == version("ray"), "that of requirements.lock"
