import numpy as np
import pytest
from PIL import Image

from glassbox.config.data import Planted
from glassbox.core.errors import UserError
from glassbox.data import loading
from glassbox.data.sources import cifar10


def test_a_source_by_name(params, monkeypatch):
    assert len(loading.load_source(params.data, 0)) == 1797
    assert loading.load_source(params.data.model_copy(update={"image_size": 16}), 0).pixels.shape[1] == 16
    monkeypatch.setattr(cifar10, "load", lambda folder: ("cifar", folder))
    cifar = params.data.model_copy(update={"source": "cifar10", "path": "/batches"})
    assert loading.load_source(cifar, 0) == ("cifar", "/batches")
    with pytest.raises(UserError, match=r"data.image_size is 64: with data.source = cifar10 it must be 32"):
        loading.load_source(cifar.model_copy(update={"image_size": 64}), 0)
    with pytest.raises(UserError, match=r"data.path is null"):
        loading.load_source(params.data.model_copy(update={"source": "image_folder"}), 0)


def test_the_settings_of_a_folder_reach_its_reader(params, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.new("CMYK", (9, 9)).save(tmp_path / name / "a.jpg")
        Image.new("RGB", (9, 9)).save(tmp_path / name / "b.png")
    folder = params.data.model_copy(update={"source": "image_folder", "path": str(tmp_path)})
    with pytest.raises(UserError, match=r"cats/a.jpg is a CMYK image"):
        loading.load_source(folder, 0)
    assert len(loading.load_source(folder.model_copy(update={"bad_images": "skip"}), 0).unreadable) == 2
    assert len(loading.load_source(folder.model_copy(update={"convert": ("cmyk",)}), 0)) == 4


def test_glyphs_may_be_planted_on_the_images_of_any_source(params):
    planted = Planted(images=20, cell=3, variant="linear", background="digits", watermark=None)
    asked = params.data.model_copy(update={"source": "planted", "planted": planted})
    made = loading.load_source(asked, 0)
    assert (len(made), made.classes) == (20, ("I", "O", "T", "S", "L"))
    behind = made.changed["removed"][~np.all(made.changed["removed"] == 255, axis=3)]
    assert 0 == behind.min() < behind.max() == 153  # digits from black to white, dimmed to 0.6
    marked = asked.model_copy(update={"planted": planted.model_copy(update={"watermark": "O"})})
    assert list(loading.load_source(marked, 0).arms) == ["noise"]
    noise = asked.model_copy(update={"planted": planted.model_copy(update={"background": "noise"})})
    assert not np.array_equal(loading.load_source(noise, 0).pixels, loading.load_source(noise, 1).pixels)
