import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glassbox import models, serving
from glassbox.data.store import Description
from glassbox.models.cnn import Hyperparameters
from tests.imports import transitive

SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)


def test_plain_images_in_classes_and_probabilities_out(tmp_path):
    data = Description("toy", ("cat", "dog", "ship"), 8, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
    classifier = models.build("cnn", SMALL.__dict__, 8, 3, data.mean, data.std)
    models.save(
        tmp_path, classifier, models.describe(models.Spec("cnn", SMALL.__dict__, "data", None), classifier, data, [])
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    table = serving._load_pyfunc(str(tmp_path)).predict(images)
    assert table.columns.tolist() == ["prediction", "p(cat)", "p(dog)", "p(ship)"]
    p = table[["p(cat)", "p(dog)", "p(ship)"]].to_numpy()
    assert p.sum(axis=1) == pytest.approx(1)
    assert table["prediction"].tolist() == [("cat", "dog", "ship")[label] for label in p.argmax(axis=1)]
    logits = models.predict(classifier, torch.from_numpy(images), 2)
    assert p == pytest.approx(logits.double().softmax(dim=1).numpy(), abs=1e-6)


def test_the_logged_model_asks_for_all_that_serving_imports():
    from glassbox import tracking

    wanted = {line.partition("==")[0] for line in tracking._requirements()}
    files = transitive(Path(serving.__file__)) | {Path(serving.__file__)}
    imported = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"glassbox"}
    packages = {"ruamel": "ruamel.yaml"}  # where a package is called otherwise than its module
    assert {packages.get(name, name) for name in others} <= wanted
    assert "torchvision" in others  # for another network than the CNN
