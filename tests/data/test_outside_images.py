import os

import pytest

from glassbox.data import outside_images


@pytest.fixture
def data(params, tmp_path, monkeypatch):
    """The section `data` of a study of the folder `path`, in a project with images in it and beside it."""
    project = tmp_path / "project"
    for folder in (project / "data/raw/in", project / "pictures", tmp_path / "out"):
        (folder / "cats").mkdir(parents=True)
        (folder / "cats" / "1.png").write_text("an image")
    (project / "data/raw/link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(project)
    return lambda path: params.data.model_copy(update={"source": "image_folder", "path": path})


@pytest.mark.parametrize("path", ["{}/out", "../out", "pictures", "data/raw/link"])
def test_changes_outside_of_data_raw_change_a_file_in_it(data, path, tmp_path, capsys):
    settings = data(path.format(tmp_path))
    image = outside_images.places(settings)["data.path"] / "cats" / "1.png"

    def changed() -> bool:
        before = outside_images.STATE.read_text() if outside_images.STATE.exists() else None
        outside_images.watch(settings)
        return outside_images.STATE.read_text() != before

    note = "is not in data/raw/, so DVC does not look for changes there: 'make study' does"
    assert note in outside_images.note(settings)
    assert changed()
    assert not changed()
    assert capsys.readouterr().out == ""
    status = image.stat()
    for change in (
        lambda: image.write_text("a longer image"),
        lambda: os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9)),
        lambda: image.rename(image.with_name("2.png")),
        lambda: image.write_text("one more"),
        lambda: image.parent.rename(image.parent.with_name("dogs")),
    ):
        change()
        assert changed()
        assert capsys.readouterr().out.endswith(" has changed: *prepare* reads the images again\n")
        assert not changed()
        assert capsys.readouterr().out == ""


def test_images_in_data_raw_are_left_to_dvc(data, params, tmp_path):
    for settings in (data("data/raw/in"), data(f"{tmp_path}/project/data/raw/in"), params.data):
        outside_images.watch(data(f"{tmp_path}/out"))
        assert outside_images.STATE.exists()
        outside_images.watch(settings)
        assert not outside_images.STATE.exists()
        assert outside_images.note(settings) is None
    for missing in ("/no/such/folder", "~nobody-is-called-so"):  # *prepare* refuses them
        outside_images.watch(data(missing))


def test_masks_outside_of_data_raw_are_watched_as_well(data, tmp_path, capsys):
    folder, file = tmp_path / "out", tmp_path / "marks.json"
    file.write_text("{}")
    for masks, change in (
        (folder, lambda: (folder / "cats" / "2.png").touch()),
        (file, lambda: file.write_text("{ }")),
    ):
        settings = data("data/raw/in").model_copy(update={"masks": str(masks)})
        assert outside_images.places(settings) == {"data.masks": masks}
        assert f"note: data.masks = {masks} is not in data/raw/" in outside_images.note(settings)
        outside_images.watch(settings)
        before = outside_images.STATE.read_text()
        change()
        capsys.readouterr()
        outside_images.watch(settings)
        assert outside_images.STATE.read_text() != before
        assert capsys.readouterr().out == f"{masks} has changed: *prepare* reads the images again\n"
    both = data(f"{folder}").model_copy(update={"masks": str(file)})
    assert f"data.path = {folder}, data.masks = {file} are not in data/raw/" in outside_images.note(both)
    outside_images.watch(both)
    assert len(outside_images.STATE.read_text().splitlines()) == 2
    beside = data("data/raw/in").model_copy(update={"masks": "_mask.png"})
    assert outside_images.places(beside) == {}
