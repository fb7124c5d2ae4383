"""The search in PostgreSQL: the same history as in a file, through restarts, lost answers and dead workers."""

import itertools
import json
import os
import random
import re
import signal
import threading
import time
from collections import deque
from pathlib import Path

import optuna
import psycopg
import pytest
from services import postgres as server_in
from test_tuning import black_and_white, essence, real, run, score, search, settings, steps, two_threads

from glassbox import postgres, tuning, workers
from glassbox.errors import UserError
from glassbox.seeds import derive
from glassbox.training import Epoch

__all__ = ["search", "settings", "two_threads"]  # fixtures
COUNT = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with server_in(tmp_path_factory.mktemp("server")) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", made.password)
        yield made


@pytest.fixture
def url(server):
    """Of a database of the test's own."""
    return server.create(f"test_{next(COUNT)}")


def epochs(search: tuning.Search, number: int):
    split = black_and_white("")
    return search.try_out(number, split, split)


def test_one_worker_gives_the_same_bytes_as_with_a_file(params, url, tmp_path):
    space = params.tune.space.model_copy(update={"conv1_filters": (8,), "conv2_filters": (16,)})
    update = {"space": space, "n_trials": 10, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    outcome = []
    for storage in (None, url):
        settings = params.tune.model_copy(update=update | {"storage": storage})
        made = real(tuning.Search, settings, params, tmp_path / "search")
        trials = run(made)
        best = json.dumps(tuning.summary(made.best(), trials))
        outcome.append([made.name, tuning.table(trials, space).to_csv(), best, essence(trials), made.importances()])
    assert outcome[0] == outcome[1]
    assert {trial[1] for trial in outcome[1][3]} == {"complete", "failed"}  # some pool an image of 8 pixels away


def test_every_number_comes_back_as_it_was(url):
    storage = tuning._open(url, 15, 60)
    study = optuna.create_study(storage=storage)
    draw = random.Random(0)
    values = [1 / 3, 0.1 + 0.2, 5e-324, 1 - 2**-53, 1.7976931348623157e308, *(draw.random() ** 9 for _ in range(50))]
    study.sampler = optuna.samplers.PartialFixedSampler(
        {str(n): value for n, value in enumerate(values)}, optuna.samplers.RandomSampler()
    )
    trial = study.ask()
    with storage.drawing():
        for step in range(len(values)):
            trial.suggest_float(str(step), 0.0, 1.7976931348623157e308)
    for step, value in enumerate(values):
        trial.report(value, step)
        trial.set_user_attr(str(step), value)
    study.tell(trial, values[0])
    (read,) = optuna.load_study(study_name=study.study_name, storage=tuning._open(url, 15, 60)).trials
    assert read.value == values[0]
    for kept in (read.params, read.user_attrs):
        assert [kept[str(step)] for step in range(len(values))] == values
    assert [read.intermediate_values[step] for step in range(len(values))] == values


def test_many_may_open_a_fresh_database_at_once(url):
    wrong, ready = [], threading.Barrier(8)

    def open_it():
        ready.wait()
        try:
            tuning._open(url, 15, 60)
        except Exception as error:
            wrong.append(error)

    opening = [threading.Thread(target=open_it) for _ in range(8)]
    for one in opening:
        one.start()
    for one in opening:
        one.join()
    assert wrong == []


# While the server is away


def test_a_restart_in_mid_search_changes_nothing(search, server, url, monkeypatch, capsys):
    whole = essence(run(search("whole")))
    fit, stops = tuning.Search._fit, {2: False, 4: True}  # in order, and as a crash would

    def stopping(self, drawn, seed, *rest):
        number = next(number for number in range(6) if derive(0, "tune", "trial", number) == seed)
        for epoch in fit(self, drawn, seed, *rest):
            if epoch.epoch == 1 and number in stops:
                server.stop(stops.pop(number))
                threading.Timer(1.5, server.start).start()
            yield epoch

    monkeypatch.setattr(tuning.Search, "_fit", stopping)
    made = search(storage=url)
    assert essence(run(made)) == whole
    assert stops == {}
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"tune.storage, {url}, is away (") for line in said] == [True, False] * 2
    assert said[1] == said[3] == "tune.storage is there again"
    assert len(made.study.get_trials()) == 6


def test_one_that_does_not_let_the_user_in_is_not_waited_for(search, url, monkeypatch, capsys):
    monkeypatch.setenv("PGPASSWORD", "wrong")
    words = rf"^tune.storage is {re.escape(url)}, which does not let \S+ in \(.*password authentication failed for user"
    with pytest.raises(UserError, match=words):
        search(storage=url)
    assert capsys.readouterr().err == ""


def test_one_that_stays_away_ends_the_search_which_then_goes_on(search, server, url, monkeypatch):
    whole = essence(run(search("whole")))
    monkeypatch.setattr(tuning, "PATIENCE", 1)
    records = steps(search(storage=url))
    for _ in range(7):
        next(records)
    server.stop()
    sentence = r"^tune.storage, postgresql.*, is away \(.*\) for 1 seconds: see that the server runs, then run the same"
    with pytest.raises(UserError, match=sentence):
        next(records)
    with pytest.raises(UserError, match=sentence):
        search(storage=url)
    server.start()
    assert essence(run(search(storage=url))) == whole


def test_answers_that_are_lost_change_nothing(search, url, monkeypatch):
    """Everything that is written arrives, but of each write the writer first hears that the connection broke."""
    whole = essence(run(search("whole", n_trials=8)))
    monkeypatch.setattr(tuning, "PAUSE", 0)
    monkeypatch.setattr(random, "random", lambda: 0.0)  # Optuna's own pause before it creates a trial again
    made = search(storage=url, n_trials=8)
    lost, own = losing(made._database.engine.dialect, monkeypatch)
    records = list(steps(made))
    assert tuning.Replaced() not in [record for _, record in records]
    assert essence([record for _, record in records if isinstance(record, tuning.Trial)]) == whole
    assert essence(made.trials()) == whole
    assert sum(lost) + sum(own) > 100  # of Optuna's transactions, and of our own statements
    assert min(sum(lost), sum(own)) > 30
    every = made.study.get_trials()
    assert len(every) > 8  # those that began twice
    assert len([trial for trial in every if trial.state.is_finished()]) == 8
    assert all(trial.user_attrs == {} for trial in every if not trial.state.is_finished())


def losing(dialect, monkeypatch) -> tuple[list[bool], list[bool]]:
    """Break the connection just after every second commit, from the first on, and after every second statement that is
    a transaction of its own; whether it was, by commit and by statement."""
    execute, commit, lost, own = dialect.do_execute, dialect.do_commit, [], []

    def broken(connection, each: list[bool]) -> None:
        each.append(len(each) % 2 == 0)
        if each[-1]:
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    def lose_commit(connection):
        commit(connection)
        broken(connection.dbapi_connection, lost)

    def lose_statement(cursor, *rest):
        execute(cursor, *rest)
        if cursor.connection.autocommit:
            broken(cursor.connection, own)

    monkeypatch.setattr(dialect, "do_commit", lose_commit)
    monkeypatch.setattr(dialect, "do_execute", lose_statement)
    return lost, own


def test_an_end_that_was_not_ours_is_no_answer_that_was_lost(search, url, monkeypatch):
    monkeypatch.setattr(tuning, "PAUSE", 0)
    made = search(storage=url)
    trial = made.study.ask()
    key = made._database.get_trial_id_from_study_id_trial_number(made._study_id, trial.number)
    made.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    broken = iter([True])
    execute = made._database.engine.dialect.do_execute

    def lose(cursor, *rest, **also):
        if next(broken, False):
            cursor.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return execute(cursor, *rest, **also)

    monkeypatch.setattr(made._database.engine.dialect, "do_execute", lose)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        made._database.set_trial_state_values(key, optuna.trial.TrialState.COMPLETE, [0.5])


def test_a_failure_that_is_told_twice_counts_once(search, url):
    made = search(storage=url)
    records = epochs(made, 0)
    next(records)
    other = search(storage=url)
    other._silenced.add(0)
    lost = other._record_death(0, workers.Died(-9), 3)
    again = made.study.get_trials()[-1]
    made.study.add_trial(again)  # what a retried commit does
    assert [trial.reason for trial in other.trials()] == [lost.reason]
    assert lost.reason == "there was no sign of life of it for 60 seconds"
    assert other.begin() == [1, 2, 3, 4, 5]


# Dead workers


def within(*deaths: int, attempts: list):
    """`workers.each` in this process, as an engine on other machines may be: the worker of a trial dies after its first
    epoch as many times as `deaths` name it."""
    left = list(deaths)

    def each(serve, todo: deque, at_once, silent=None, look=None):
        records = serve()
        while todo:
            number = todo.popleft()
            for record in records(number):
                attempts.append((number, record))
                yield number, record
                if number in left:
                    left.remove(number)
                    yield number, workers.Died(-signal.SIGKILL)
                    break

    return each


class Toy(tuning.Search):
    """Its trials report `score` and keep what was drawn."""

    drawn = None

    def _fit(self, drawn, seed, *_):
        type(self).drawn = [*(self.drawn or []), drawn]
        for epoch in range(1, self.settings.epochs + 1):
            yield Epoch(epoch, 1.0, 0.5, 1.0, score(drawn, epoch), 0.0, 0.1, True, 0.0, 1.0, 0.5, 0.0)


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_dead_workers_trial_is_made_again(settings, params, url, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(tuning.Search, "at_once", 1)
    settings = settings.model_copy(update={"workers": at_once})
    whole = essence(run(real(Toy, settings, params, tmp_path)))
    attempts = []
    monkeypatch.setattr(workers, "each", within(1, 4, 4, attempts=attempts))
    Toy.drawn = []
    made = real(Toy, settings, params, tmp_path, storage=url)
    records = list(made.run(black_and_white))
    assert essence(made.trials()) == whole
    assert [number for number, record in records if isinstance(record, tuning.Trial)] == list(range(6))
    assert Toy.drawn[1] == Toy.drawn[2]
    assert Toy.drawn[5] == Toy.drawn[6] == Toy.drawn[7]
    assert len(Toy.drawn) == 9
    failed = [trial for trial in made.study.get_trials() if trial.state.name == "FAIL"]
    assert [trial.user_attrs for trial in failed] == [{"number": 1}, {"number": 4}, {"number": 4}]


def test_a_trial_whose_worker_dies_each_time_is_a_failed_one(settings, params, url, tmp_path, monkeypatch):
    attempts = []
    monkeypatch.setattr(workers, "each", within(1, 1, 1, attempts=attempts))
    made = real(Toy, settings, params, tmp_path, storage=url)
    list(made.run(black_and_white))
    assert [trial.number for trial in made.trials()] == list(range(6))
    lost = made.trials()[1]
    assert (lost.state, lost.value, len(lost.curve)) == ("failed", None, 1)
    assert lost.reason == "its process was ended by SIGKILL, as the system does when memory runs out"
    assert made.begin() == []
    assert len([number for number, record in attempts if number == 1]) == 3


def test_another_attempt_takes_the_same_values_whatever_was_found_meanwhile(search, url):
    def values_of_the_fifth(made, disturbed):
        for number in range(4):
            if number == 3 and disturbed:
                next(epochs(made, 4))  # begun before the fourth, and left running
                made.begin()
            list(epochs(made, number))
        list(epochs(made, 4))
        return [trial.params for trial in made.study.get_trials() if trial.user_attrs["number"] == 4]

    first, second = values_of_the_fifth(search(storage=url), disturbed=True)
    (otherwise,) = values_of_the_fifth(search(), disturbed=False)
    assert first == second != otherwise


def test_one_that_had_not_drawn_everything_draws_as_if_for_the_first_time(search, url, monkeypatch):
    whole = essence(run(search("whole")))
    made = search(storage=url)
    suggest, left = optuna.Trial.suggest_float, [30]

    def dying(self, name, *rest, **also):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return suggest(self, name, *rest, **also)

    monkeypatch.setattr(optuna.Trial, "suggest_float", dying)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    assert 0 < len(made.trials()) < 6
    cut = made.study.get_trials()[-1]
    assert cut.state.name == "RUNNING"
    assert cut.params == {}  # they are written all or none
    assert essence(run(search(storage=url))) == whole


class KilledOnce(tuning.Search):
    """The second trial's process is killed after its first epoch, the first time."""

    def _fit(self, params, seed, train, validation):
        for epoch in super()._fit(params, seed, train, validation):
            yield epoch
            mark = Path(self._arguments[6]) / "killed"
            if seed == derive(self.seed, "tune", "trial", 1) and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def test_two_workers_one_killed_one_restart(settings, params, server, url, tmp_path, two_threads):
    made = real(KilledOnce, settings, params, tmp_path, workers=2, n_trials=5, storage=url)
    finished, stopped = [], False
    for number, record in made.run(black_and_white):
        if isinstance(record, tuning.Trial):
            finished.append(number)
            if not stopped:
                stopped = True
                server.stop()
                server.start()
    assert sorted(finished) == [0, 1, 2, 3, 4] == [trial.number for trial in made.trials()]
    assert (tmp_path / "killed").exists()
    assert {trial.state for trial in made.trials()} <= {"complete", "pruned"}
    attempts = [t.params for t in made.study.get_trials() if t.user_attrs.get("number") == 1]
    assert len(attempts) == 2
    assert attempts[0] == attempts[1]


# Workers that were given up, and go on


def test_one_that_was_given_up_can_neither_report_nor_end_its_trial(search, url):
    given_up = epochs(search(storage=url), 0)
    first = next(given_up)
    other = search(storage=url)
    trials = run(other)
    assert trials[0].curve[0] == first.validation_accuracy
    assert list(given_up) == [tuning.Replaced()]
    assert essence(other.trials()) == essence(trials) == essence(run(search("whole")))


def test_one_that_is_given_up_as_it_is_drawn_has_drawn_nothing(search, url, monkeypatch):
    made, other, suggest = search(storage=url), search(storage=url), tuning.suggest

    def too_late(*asked):
        drawn = suggest(*asked)
        other.begin()
        return drawn

    monkeypatch.setattr(tuning, "suggest", too_late)
    assert list(epochs(made, 0)) == [tuning.Replaced()]
    (trial,) = other.study.get_trials()
    assert (trial.state.name, trial.params) == ("FAIL", {})


def test_one_that_is_given_up_as_it_ends_counts_for_nothing(search, url, monkeypatch):
    made, other = search(storage=url, pruner_startup_trials=99), search(storage=url, pruner_startup_trials=99)
    tell = made.study.tell

    def too_late(*told, **also):
        other.begin()
        return tell(*told, **also)

    monkeypatch.setattr(made.study, "tell", too_late)
    assert list(epochs(made, 0))[-1] == tuning.Replaced()
    assert other.trials() == []
    assert other.begin()[0] == 0


def test_one_that_fails_when_it_was_given_up_has_not_failed(search, url, monkeypatch):
    def fails(*_):
        search(storage=url).begin()
        raise UserError("the loss is not a number")
        yield

    monkeypatch.setattr(tuning.Search, "_fit", fails)
    made = search(storage=url)
    assert list(epochs(made, 0)) == [tuning.Replaced()]
    assert made.trials() == []


def test_of_two_that_end_one_counts(search, url):
    made, other = search(storage=url), search(storage=url)
    first, second = epochs(made, 0), epochs(other, 0)
    next(first)
    next(second)
    list(second)
    *_, trial = first
    assert made.trials() == [trial]


def test_two_runs_of_one_search_do_not_share_it(settings, params, url, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "each", within(attempts=[]))
    first, second = (real(Toy, settings, params, tmp_path, storage=url) for _ in range(2))
    records = first.run(black_and_white)
    next(records)
    whole = list(second.run(black_and_white))
    with pytest.raises(UserError, match=r"^trial 0 was taken over by another run of the same search on postgresql"):
        next(records)
    assert [number for number, record in whole if isinstance(record, tuning.Trial)] == list(range(6))
    assert len(second.trials()) == 6


# Signs of life


def test_a_trial_gives_signs_of_life_until_it_ends(search, server, url, monkeypatch):
    monkeypatch.setattr(tuning.Search, "heartbeat", 0.1)
    monkeypatch.setattr(tuning, "PAUSE", 0.1)
    made, driver = search(storage=url), search(storage=url)

    def last() -> float:
        with postgres.connect(url) as database:
            beats = database.execute("select extract(epoch from max(heartbeat)) from trial_heartbeats").fetchone()
        return float(beats[0] or 0)

    def beats_again(before: float) -> None:
        deadline = time.monotonic() + 10
        while last() <= before:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    records = epochs(made, 0)
    next(records)
    beats_again(0)
    beats_again(last())
    server.stop()
    time.sleep(0.5)
    server.start()
    beats_again(last())
    threads = threading.active_count()
    records.close()
    assert threading.active_count() == threads - 1
    assert driver._silent() == set()  # none late yet
    with postgres.connect(url) as database:
        database.execute("update trial_heartbeats set heartbeat = heartbeat - interval '61 seconds'")
    assert driver._silent() == set()  # perhaps only the database was away
    assert driver._silent() == {0}
    assert driver._record_death(0, workers.Died(-9), 1) is None
    assert driver._silent() == set()


def test_a_trial_that_is_late_once_is_not_given_up(search, url):
    made, driver = search(storage=url), search(storage=url)
    records = epochs(made, 0)
    next(records)
    for _ in range(3):
        with postgres.connect(url) as database:
            database.execute("update trial_heartbeats set heartbeat = heartbeat - interval '61 seconds'")
        assert driver._silent() == set()
        with postgres.connect(url) as database:
            database.execute("update trial_heartbeats set heartbeat = current_timestamp")
        assert driver._silent() == set()


# What others find


def test_one_searchs_reports_prune_anothers_trial(settings, params, url, tmp_path, monkeypatch):
    accuracy = {}

    def fit(self, drawn, *_):
        for epoch in range(1, 5):
            yield Epoch(epoch, 1.0, 0.5, 1.0, accuracy[id(self)], 0.0, 0.1, True, 0.0, 1.0, 0.5, 0.0)

    monkeypatch.setattr(tuning.Search, "_fit", fit)
    good, bad, alone = (real(tuning.Search, settings, params, tmp_path, workers=2, storage=where)
                        for where in (url, url, None))  # fmt: skip
    accuracy |= {id(good): 0.9, id(bad): 0.1, id(alone): 0.1}
    slow = epochs(bad, 1)
    assert next(slow).validation_accuracy == 0.1
    assert list(epochs(good, 0))[-1].state == "complete"
    assert [(r.state, len(r.curve)) for r in slow if isinstance(r, tuning.Trial)] == [("pruned", 1)]
    assert list(epochs(alone, 1))[-1].state == "complete"
    assert [trial.state for trial in good.trials()] == [trial.state for trial in bad.trials()] == ["complete", "pruned"]


def test_where_a_search_is_kept_does_not_name_it(search, url):
    assert search(storage=url).name == search().name == search().file.stem
    assert search(storage=url).file is None
