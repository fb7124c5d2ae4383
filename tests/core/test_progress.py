import io
import time

from glassbox.core import progress
from glassbox.core.progress import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_lines_although_a_step_takes_long(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with Bar(total=30, desc="training", unit="epoch") as bar:
        bar.update(12)
        bar.set_postfix_str("validation 91.0 %")
        time.sleep(0.3)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"training: 12 of 30 epochs after 0 min 0 s: validation 91.0 %"}
    time.sleep(0.15)
    assert log.getvalue().splitlines() == lines, "no line after the end"


def test_short_work_is_silent_in_a_log_and_counts_all_the_same(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    bar = Bar(range(5), desc="reading", unit="image")
    assert list(bar) == list(range(5))
    assert bar.n == 5
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "EVERY", 0.01)
    with Bar(total=3, desc="scoring", unit="map") as bar:
        bar.update(3)
        time.sleep(0.05)
    assert "\rscoring: 100%" in screen.getvalue()
    assert " of 3 maps" not in screen.getvalue()


def test_hours_are_told_as_hours(monkeypatch):
    bar = Bar(total=3, desc="scoring", unit="map")
    monkeypatch.setattr(progress.time, "monotonic", lambda: bar._start + 2 * 3600 + 5 * 60 + 7)
    assert bar.line() == "scoring: 0 of 3 maps after 2 h 5 min"
    bar.close()


def test_what_ctrl_c_left_of_a_bar_is_closed_without_a_word():
    Bar.__new__(Bar, total=3).close()
    bar = Bar(total=3, desc="scoring", unit="map")
    assert not bar._ended.is_set()
    bar.close()
