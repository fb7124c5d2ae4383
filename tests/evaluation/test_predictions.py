import pandas as pd
import pytest

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.evaluation import predictions


def test_probabilities_come_in_the_order_of_the_classes(tmp_path):
    table = pd.DataFrame({"image": [0, 1], "p(b)": [0.25, 1.0], "true_class": ["a", "b"], "p(a)": [0.75, 0.0]})
    files.write_csv(tmp_path / "p.csv", table)
    assert predictions.read(tmp_path / "p.csv", 2, ("a", "b")).tolist() == [[0.75, 0.25], [0.0, 1.0]]


@pytest.mark.parametrize(("images", "classes"), [(3, ("a", "b")), (1, ("a", "b")), (2, ("a", "c"))])
def test_predictions_of_others_are_refused(tmp_path, images, classes):
    files.write_csv(tmp_path / "p.csv", pd.DataFrame({"p(a)": [0.5, 1.0], "p(b)": [0.5, 0.0]}))
    with pytest.raises(
        UserError, match=rf"p.csv does not hold the probabilities of 2 classes for {images} test images"
    ):
        predictions.read(tmp_path / "p.csv", images, classes)


def test_predictions_that_are_not_those_of_the_calibration_are_refused(tmp_path):
    path = tmp_path / predictions.PREDICTIONS
    files.write_csv(path, pd.DataFrame({"p(a)": [0.5, 1.0], "p(b)": [0.5, 0.0]}))
    predictions.write_scaling(tmp_path, {"temperature": 1.5})
    assert predictions.temperature(tmp_path / predictions.CALIBRATION) == 1.5
    assert predictions.read(path, 2, ("a", "b")).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    path.write_text(path.read_text().replace("0.5,0.5", "0.4,0.5"))
    with pytest.raises(UserError, match=r"predictions.csv is not what was written \(its SHA-256 is not that in calib"):
        predictions.read(path, 2, ("a", "b"))


def test_the_temperature_is_read_or_refused(tmp_path):
    path = tmp_path / "calibration.json"
    files.write_json(path, {"temperature": 1.5})
    assert predictions.temperature(path) == 1.5
    for wrong in ({}, {"temperature": 0.0}, {"temperature": "1.5"}, {"temperature": None}):
        files.write_json(path, wrong)
        with pytest.raises(UserError, match=r"calibration.json: temperature is .*, but must be a number above 0"):
            predictions.temperature(path)
    path.unlink()
    with pytest.raises(UserError, match=r"calibration.json is missing: 'dvc repro' makes it"):
        predictions.temperature(path)
