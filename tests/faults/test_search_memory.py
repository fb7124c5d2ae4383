"""A search may run for days. `make faults` has this test."""

import psutil
from conftest import nightly

from glassbox.search.outcome import Trial
from glassbox.search.trainer import Trainer
from tests.execution.test_workers import children
from tests.searches import black_and_white, search_of


@nightly
def test_memory_and_open_files_stay_flat_over_200_trials(params, tmp_path):
    """Those of the process that trains and of the one that waits for it."""
    search = search_of(Trainer, params, tmp_path, n_trials=200, epochs=1, startup_trials=180)
    samples = []
    for _, record in search.run(black_and_white):
        if isinstance(record, Trial) and record.number in (49, 99, 149, 199):
            (worker,) = children()
            both = (psutil.Process(), worker)
            samples.append([(p.memory_info().rss / 2**20, p.num_fds(), p.num_threads()) for p in both])
    assert len(search.trials()) == 200
    for process in zip(*samples, strict=True):
        memory, handles, threads = zip(*process, strict=True)
        # Optuna keeps 150 trials meanwhile, and the size of the network varies.
        assert max(memory[1:]) - memory[0] < 30, memory
        assert set(handles) == {handles[0]}
        assert set(threads) == {threads[0]}
