"""What the explorer of the page gets."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from glassbox.report.cases import LABELS, VALUES, cases, packed_labels, packed_map, scored_cases

from .conftest import IMAGES, shown


def unpacked(text: str, kind: str) -> np.ndarray:
    """As the browser does it."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS), kind)
    side = int(len(values) ** 0.5)
    return values.reshape(side, side)


def test_a_map_is_packed_in_steps_of_its_largest_value():
    values = np.array([[0.5, -0.25], [0.0, 0.001]], dtype=np.float32)
    assert unpacked(packed_map(values), "i1").tolist() == [[127, -64], [0, 0]]
    assert unpacked(packed_map(np.zeros((2, 2))), "i1").tolist() == [[0, 0], [0, 0]]
    large = np.repeat(np.repeat(np.eye(VALUES, dtype=np.float32), 2, axis=0), 2, axis=1)  # means over 2 x 2 pixels
    assert (unpacked(packed_map(large), "i1") == 127 * np.eye(VALUES)).all()


def test_regions_keep_their_numbers():
    assert unpacked(packed_labels(np.array([[0, 300], [1, 2]])), "<u2").tolist() == [[0, 300], [1, 2]]
    halves = np.repeat([[0] * LABELS + [1] * LABELS], 2 * LABELS, axis=0)
    assert (unpacked(packed_labels(halves), "<u2") == [0] * (LABELS // 2) + [1] * (LABELS // 2)).all()


def test_an_image_has_the_probabilities_that_explain_has_computed(study):
    (case,) = cases(study)
    assert json.loads(case["regions"]["whole"]) == {"dog": 0.85}
    assert json.loads(case["regions"]["without"]) == {"dog": [0.25, 0.875]}
    assert unpacked(case["regions"]["labels"], "<u2").tolist() == [[0] * 4 + [1] * 4] * 8
    (shap,) = case["explained"][0]["maps"]
    assert (shap["removal"], shap["unit"], shap["largest"]) == ("0.850 0.500 0.250", "probability", pytest.approx(1))
    assert unpacked(shap["values"], "i1")[0, 0] == -127
    assert case["disagreement"] is None  # of one explainer
    text = shown(study)
    assert 'data-whole="{&#34;dog&#34;: 0.85}"' in text
    assert 'data-removal="0.850 0.500 0.250"' in text


def test_explainers_that_rank_regions_the_other_way_round_disagree(study):
    maps = study.arrays["maps"]
    study.arrays["maps"] = np.stack([maps[0], -maps[0]])
    study.index["explainer"] = ["kernel_shap", "grad_cam"]
    assert cases(study)[0]["disagreement"] == pytest.approx(2)  # a rank correlation of -1


def test_scored_images_that_are_not_explained_have_their_maps_and_scores(study):
    (case,) = scored_cases(study, IMAGES, {5})
    assert [case[key] for key in ("row", "group", "truth", "guess")] == [9, "scored", "cat <b>", "dog"]
    lime, cam = case["explained"][0]["maps"]
    assert (lime["note"], cam["note"]) == ("deletion AUC 0.12", "")  # Grad-CAM's map has no score
    assert unpacked(lime["values"], "i1")[0, 0] == -127
    assert [one["row"] for one in scored_cases(study, IMAGES, set())] == [5, 9]
    assert scored_cases(replace(study, scored_index=None), IMAGES, set()) == []
    text = shown(study)
    assert '<article class="case with-script" id="case-9" data-group="scored"' in text
    assert '<option value="scored">Drawn for the scorecard (1)</option>' in text
