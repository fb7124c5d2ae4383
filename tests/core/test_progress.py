import io
import time

from glassbox.core import progress
from glassbox.core.progress import Bar


def stderr(monkeypatch) -> io.StringIO:
    """A stderr that is no terminal, with a line every 50 ms."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "EVERY", 0.05)
    return stream


def test_a_log_gets_lines_even_during_a_long_step(monkeypatch):
    log = stderr(monkeypatch)
    with Bar(total=30, desc="training", unit="epoch") as bar:
        bar.update(12)
        bar.set_postfix_str("validation 91.0 %")
        time.sleep(0.3)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"training: 12 of 30 epochs after 0 min 0 s: validation 91.0 %"}
    time.sleep(0.15)
    assert log.getvalue().splitlines() == lines, "no line after the end"


def test_short_work_prints_nothing_in_a_log_and_is_counted(monkeypatch):
    log = stderr(monkeypatch)
    monkeypatch.setattr(progress, "EVERY", 30)
    bar = Bar(range(5), desc="reading", unit="image")
    assert list(bar) == list(range(5))
    assert bar.n == 5
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    log = stderr(monkeypatch)
    monkeypatch.setattr(log, "isatty", lambda: True)
    with Bar(total=3, desc="scoring", unit="map") as bar:
        bar.update(3)
        time.sleep(0.15)
    assert "\rscoring: 100%" in log.getvalue()
    assert " of 3 maps" not in log.getvalue()


def test_hours_and_a_bar_that_ctrl_c_left_without_init(monkeypatch):
    Bar.__new__(Bar, total=3).close()
    bar = Bar(total=3, desc="scoring", unit="map")
    monkeypatch.setattr(progress.time, "monotonic", lambda: bar._start + 2 * 3600 + 5 * 60 + 7)
    assert bar.line() == "scoring: 0 of 3 maps after 2 h 5 min"
    assert not bar._ended.is_set(), "the first one's end is not this one's"
    bar.close()
