"""The file of a search: incomplete, damaged, a folder, on a full disk."""

import json

import pytest

from glassbox.core.errors import UserError
from glassbox.search.journal import JournalFileBackend
from tests.searches import essence, run, steps


def test_an_incomplete_last_line_is_removed(search, uninterrupted):
    short = search(n_trials=3)
    run(short)
    short.file.write_bytes(short.file.read_bytes()[:-20])  # the end of the third trial
    assert len(search(n_trials=3).trials()) == 2
    assert essence(run(search())) == essence(uninterrupted)


def test_no_flipped_byte_changes_the_search(search):
    """JSON with one digit changed is still JSON: each line has a checksum."""
    run(search(n_trials=2))
    file = search().file
    content, expected = file.read_bytes(), essence(search().trials())
    last = content.rindex(b"\n", 0, -1)
    for place in range(0, len(content), 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            trials = essence(search().trials())
        except UserError as error:
            message = str(error)
            assert message.startswith(f"{file}, the record of this search, is damaged (")
            assert message.endswith("): delete it to start the search again")
        else:
            assert place > last or trials == expected
    digits = json.dumps(expected[0][2])[:6].encode()
    assert content.count(digits) >= 1
    file.write_bytes(content.replace(digits, digits[:-1] + (b"1" if digits[-1:] != b"1" else b"2"), 1))
    with pytest.raises(UserError, match=r"is damaged \(wrong checksum in line \d+\): delete it"):
        search()


def test_a_folder_in_place_of_the_file_is_named(search):
    file = search().file
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=rf"{file.name}, the record of this search, is damaged \(it is a folder\)"):
        search()


def test_a_full_disk_is_one_sentence_and_the_search_resumes_later(search, uninterrupted, monkeypatch):
    full_search = search()
    records = steps(full_search)
    next(records)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        with pytest.raises(
            UserError, match=rf"{full_search.file.name} cannot be written \(No space left on device\): run the same"
        ):
            next(records)
    assert essence(run(search())) == essence(uninterrupted)
