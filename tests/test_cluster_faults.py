"""A cluster loses processes, machines and its database in mid-work: it ends as if nothing had happened, and does again
at most what was in hand."""

import sys
from pathlib import Path

import clusters
import numpy as np
import pytest
import torch

from glassbox import config, engine, explaining
from glassbox.resume import Parts
from glassbox.selection import Pick

HOST, GUEST, NAMESPACE = "10.213.77.1", "10.213.77.2", "glassbox-cut"


@pytest.fixture
def settings(params):
    return params.compute.model_copy(update={"engine": "ray", "threads": 1, "precision": "float32"})


@pytest.fixture
def asked(params, small_cnn):
    """LIME and Integrated Gradients for forty images: what `explaining.explain` takes."""
    small = params.explain.model_copy(
        update={
            "explainers": ("lime", "integrated_gradients"),
            "superpixels": config.Superpixels(segments=16, compactness=10.0, sigma=0.0),
            "lime": params.explain.lime.model_copy(update={"samples": 300}),
        }
    )
    patches = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    images = torch.from_numpy(patches.repeat(6, 1).repeat(6, 2))
    request = explaining.request_for([Pick(row, "correct", "", (row % 4,)) for row in range(40)], images, seed=0)
    return small_cnn(24).eval(), request, images, (0.5,) * 3, small, 64


def undisturbed(settings, asked):
    with engine.start(settings.model_copy(update={"engine": "local"})):
        return list(explaining.explain(*asked))


def the_same(found, wanted) -> None:
    assert [one.name for one in found] == [one.name for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.attribution.maps.tobytes() == other.attribution.maps.tobytes()
        for name, values in (other.attribution.details | other.scores).items():
            assert (one.attribution.details | one.scores)[name].tobytes() == values.tobytes()


def explained(settings, asked, folder: Path, after: int, fault) -> tuple[list, list[int]]:
    """Every explanation, with `fault` after so many parts; and the numbers of the parts that are on disk."""
    with engine.start(settings) as at:

        def each(*work):
            for arrays in at.each(*work):
                if keep._number == after:
                    fault()
                yield arrays

        keep = Parts("explain", "key", folder, each)
        found = list(explaining.explain(*asked, keep=keep))
    return found, Parts("explain", "key", folder).found


def test_a_node_that_is_removed_while_explaining(settings, asked, tmp_path):
    wanted = undisturbed(settings, asked)
    with clusters.nodes(sys.modules[__name__], _system_config=clusters.SOON) as made:
        second = made.add_node(num_cpus=1)
        there = settings.model_copy(update={"address": made.address})
        found, parts = explained(there, asked, tmp_path, 12, lambda: made.remove_node(second, allow_graceful=False))
    the_same(found, wanted)
    assert parts == 2 * 40 + 3 + 3 * 3, "maps of LIME and the control one by one, all else by 16: each once"


def test_a_node_that_the_network_cuts_off_while_explaining(settings, asked, tmp_path):
    wanted = undisturbed(settings, asked)
    with clusters.elsewhere(NAMESPACE, HOST, GUEST):
        head = {"node_ip_address": HOST, "_system_config": clusters.SOON}
        with clusters.nodes(sys.modules[__name__], **head) as made, clusters.node_in(NAMESPACE, made.address, GUEST):
            there = settings.model_copy(update={"address": made.address})
            found, parts = explained(there, asked, tmp_path, 12, lambda: clusters.cut(NAMESPACE))
    the_same(found, wanted)
    assert parts == 2 * 40 + 3 + 3 * 3
