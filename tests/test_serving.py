import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tracked_stages import IMAGES, save_model

from glassbox import models, serving
from glassbox.core import files
from glassbox.data import decode
from glassbox.data.decode import Shape
from glassbox.provenance import fingerprint
from glassbox.tracking.models import REQUIREMENTS


@pytest.fixture
def saved(tmp_path):
    """A small classifier, and the same as MLflow serves it."""
    classifier = save_model(tmp_path)
    files.write_json(tmp_path / serving.SETTINGS, {"temperature": 2.5, "shape": vars(Shape(8, "pad"))})
    return classifier, serving._load_pyfunc(str(tmp_path))


def test_images_go_in_and_classes_with_calibrated_probabilities_come_out(saved):
    classifier, served = saved
    table = served.predict(IMAGES)
    assert table.columns.tolist() == ["prediction", "p(cat)", "p(dog)"]
    p = table[["p(cat)", "p(dog)"]].to_numpy()
    assert p.sum(axis=1) == pytest.approx(1)
    assert table["prediction"].tolist() == [("cat", "dog")[label] for label in p.argmax(axis=1)]
    logits = models.predict(classifier, torch.from_numpy(IMAGES), 2).double()
    assert p == pytest.approx((logits / 2.5).softmax(dim=1).numpy(), abs=1e-6)
    assert served.predict(IMAGES[:0]).columns.tolist() == table.columns.tolist()


def test_images_of_another_size_are_resized_as_in_the_study(saved, tmp_path):
    _, served = saved
    wide = np.zeros((1, 20, 40, 3), np.uint8)
    wide[0, :, :20] = 255
    Image.fromarray(wide[0]).save(tmp_path / "wide.png")
    as_read = decode.read(tmp_path / "wide.png", Shape(8, "pad"))
    pd.testing.assert_frame_equal(served.predict(wide), served.predict(as_read[None]))
    assert not served.predict(wide).equals(served.predict(decode.read(tmp_path / "wide.png", Shape(8))[None]))


@pytest.mark.parametrize("wrong", [IMAGES[0], IMAGES[..., :1], IMAGES.astype(np.float32), IMAGES[:, :0]])
def test_arrays_that_are_no_images_are_refused(saved, wrong):
    with pytest.raises(ValueError, match=r"images must be \(N, H, W, 3\) uint8, not \("):
        saved[1].predict(wrong)


def test_the_logged_model_requires_all_that_serving_imports():
    imported = set()
    for file in fingerprint.sources("glassbox.serving"):
        if file.suffix == ".py":
            imported |= set(re.findall(r"^ *(?:import|from) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    others = imported - set(sys.stdlib_module_names) - {"glassbox"}
    packages = {"ruamel": "ruamel.yaml", "PIL": "pillow"}  # whose names differ from those of their modules
    only_for_onnx = {"onnxruntime"}  # see test_models.py in tests/tracking
    assert {packages.get(name, name) for name in others} - only_for_onnx <= set(REQUIREMENTS)
    assert "torchvision" in others  # for another network than the CNN
