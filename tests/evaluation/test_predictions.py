import pandas as pd
import pytest

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.evaluation import predictions


@pytest.fixture
def path(tmp_path):
    table = pd.DataFrame({"image": [0, 1], "p(b)": [0.25, 1.0], "true_class": ["a", "b"], "p(a)": [0.75, 0.0]})
    files.write_csv(tmp_path / predictions.PREDICTIONS, table)
    return tmp_path / predictions.PREDICTIONS


def test_probabilities_come_in_the_order_of_the_classes(path):
    assert predictions.read(path, 2, ("a", "b")).tolist() == [[0.75, 0.25], [0.0, 1.0]]


@pytest.mark.parametrize(("images", "classes"), [(3, ("a", "b")), (1, ("a", "b")), (2, ("a", "c"))])
def test_predictions_for_other_images_or_classes_are_refused(path, images, classes):
    with pytest.raises(UserError, match=rf"does not hold the probabilities of 2 classes for {images} test images"):
        predictions.read(path, images, classes)


def test_predictions_that_do_not_belong_to_the_calibration_are_refused(path):
    predictions.write_scaling(path.parent, {"temperature": 1.5})
    assert predictions.temperature(path.with_name(predictions.CALIBRATION)) == 1.5
    assert predictions.read(path, 2, ("a", "b")).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(UserError, match=r"predictions.csv is not what was written \(its SHA-256 is not that in calib"):
        predictions.read(path, 2, ("a", "b"))


def test_a_wrong_temperature_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    for wrong in ({}, {"temperature": 0.0}, {"temperature": "1.5"}, {"temperature": None}):
        files.write_json(path, wrong)
        with pytest.raises(UserError, match=r"calibration.json: temperature is .*, but must be a number above 0"):
            predictions.temperature(path)
    path.unlink()
    with pytest.raises(UserError, match=r"calibration.json is missing: 'dvc repro' makes it"):
        predictions.temperature(path)
