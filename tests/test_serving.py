import ast
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from glassbox import models, serving
from glassbox.core import files
from glassbox.data.sources import image_folder
from glassbox.data.store import Description
from glassbox.models.cnn import Hyperparameters
from glassbox.provenance import fingerprint
from glassbox.tracking.models import REQUIREMENTS

SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)


@pytest.fixture
def saved(tmp_path):
    """A small classifier, and what is served of it."""
    data = Description("toy", ("cat", "dog", "ship"), 8, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
    classifier = models.build("cnn", SMALL.__dict__, 8, 3, data.mean, data.std)
    card = models.describe(models.Spec("cnn", SMALL.__dict__, "data", None), classifier, data, [])
    models.save(tmp_path, classifier, card)
    files.write_json(tmp_path / serving.SETTINGS, {"temperature": 2.5, "resize": "pad"})
    return classifier, serving._load_pyfunc(str(tmp_path))


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def test_plain_images_in_classes_and_calibrated_probabilities_out(saved):
    classifier, served = saved
    table = served.predict(IMAGES)
    assert table.columns.tolist() == ["prediction", "p(cat)", "p(dog)", "p(ship)"]
    p = table[["p(cat)", "p(dog)", "p(ship)"]].to_numpy()
    assert p.sum(axis=1) == pytest.approx(1)
    assert table["prediction"].tolist() == [("cat", "dog", "ship")[label] for label in p.argmax(axis=1)]
    logits = models.predict(classifier, torch.from_numpy(IMAGES), 2).double()
    assert p == pytest.approx((logits / 2.5).softmax(dim=1).numpy(), abs=1e-6)
    assert served.predict(IMAGES[:0]).columns.tolist() == table.columns.tolist()


def test_images_of_another_size_are_made_fit_as_the_studys_own(saved, tmp_path):
    _, served = saved
    wide = np.zeros((1, 20, 40, 3), np.uint8)
    wide[0, :, :20] = 255
    Image.fromarray(wide[0]).save(tmp_path / "wide.png")
    as_read = image_folder.read(tmp_path / "wide.png", 8, "pad")
    pd.testing.assert_frame_equal(served.predict(wide), served.predict(as_read[None]))
    assert not served.predict(wide).equals(served.predict(image_folder.read(tmp_path / "wide.png", 8, "crop")[None]))


@pytest.mark.parametrize("wrong", [IMAGES[0], IMAGES[..., :1], IMAGES.astype(np.float32), IMAGES[:, :0]])
def test_what_is_no_image_is_refused(saved, wrong):
    with pytest.raises(ValueError, match=r"images must be \(N, H, W, 3\) uint8, not \("):
        saved[1].predict(wrong)


def test_the_logged_model_asks_for_all_that_serving_imports():
    sources = [path for path in fingerprint.sources("glassbox.serving") if path.suffix == ".py"]
    imported = set()
    for node in (node for file in sources for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"glassbox"}
    packages = {"ruamel": "ruamel.yaml", "PIL": "pillow"}  # where a package is called otherwise than its module
    assert {packages.get(name, name) for name in others} <= set(REQUIREMENTS)
    assert "torchvision" in others  # for another network than the CNN
