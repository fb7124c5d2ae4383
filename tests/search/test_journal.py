"""The file of a search: torn, damaged, a folder, a disk that is full."""

import json

import pytest

from glassbox.core.errors import UserError
from glassbox.search.journal import JournalFileBackend
from tests.searches import Toy, essence, run, search_of, steps


@pytest.fixture
def search(params, tmp_path):
    return lambda folder="search", **changes: search_of(Toy, params, tmp_path / folder, **changes)


def test_a_torn_last_line_is_cut_off(search):
    whole = essence(run(search("whole")))
    made = search("torn", n_trials=3)
    run(made)
    file = made.file
    file.write_bytes(file.read_bytes()[:-20])  # a machine went down in the middle of a line: the end of the third trial
    assert len(search("torn", n_trials=3).trials()) == 2
    assert essence(run(search("torn"))) == whole


def test_a_damaged_file_is_named(search):
    run(search(n_trials=2))
    file = search().file
    lines = file.read_text().splitlines()
    lines[4] = lines[4][:-7]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"{file.name}, the record of this search, is damaged .*: delete it"):
        search()


def test_no_flipped_byte_of_the_record_changes_the_search(search):
    """JSON with one digit changed is JSON after all: every line carries a digest of what else is in it."""
    run(search(n_trials=2))
    file = search().file
    whole, known = file.read_bytes(), essence(search().trials())
    last = whole.rindex(b"\n", 0, -1)
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = essence(search().trials())
        except UserError as error:
            said = str(error)
            assert said.startswith(f"{file}, the record of this search, is damaged (")
            assert said.endswith("): delete it, and the search begins anew")
        else:
            assert place > last or found == known
    values = json.dumps(known[0][2])[:6].encode()
    assert whole.count(values) >= 1
    file.write_bytes(whole.replace(values, values[:-1] + (b"1" if values[-1:] != b"1" else b"2"), 1))
    with pytest.raises(UserError, match=r"is damaged \(the checksum of its line \d+ is another\): delete it"):
        search()


def test_a_record_that_is_a_folder_is_said(search):
    file = search().file
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=rf"{file.name}, the record of this search, is damaged \(it is a folder\)"):
        search()


def test_a_full_disk_is_one_sentence_and_the_search_goes_on_later(search, monkeypatch):
    whole = essence(run(search("whole")))
    made = search("full")
    records = steps(made)
    next(records)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        with pytest.raises(
            UserError, match=rf"{made.file.name} cannot be written \(No space left on device\): run the same"
        ):
            next(records)
    assert essence(run(search("full"))) == whole
