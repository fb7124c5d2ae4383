import pytest

from glassbox.data import cifar10, sources
from glassbox.errors import UserError


def test_a_source_by_name(params, monkeypatch):
    assert len(sources.load_source(params.data)) == 1797
    assert sources.load_source(params.data.model_copy(update={"image_size": 16})).pixels.shape[1] == 16
    monkeypatch.setattr(cifar10, "load", lambda folder: ("cifar", folder))
    cifar = params.data.model_copy(update={"source": "cifar10", "path": "/batches"})
    assert sources.load_source(cifar) == ("cifar", "/batches")
    with pytest.raises(UserError, match=r"data.image_size is 64: with data.source = cifar10 it must be 32"):
        sources.load_source(cifar.model_copy(update={"image_size": 64}))
    with pytest.raises(UserError, match=r"data.path is null"):
        sources.load_source(params.data.model_copy(update={"source": "image_folder"}))
