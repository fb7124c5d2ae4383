from glassbox.core.seeds import derive


def test_a_stream_is_fixed_by_seed_and_name():
    # The first four bytes of the SHA-256 of "0/split": the value must never change, or no old study can be repeated.
    assert derive(0, "split") == 0x68A30A9F
    paths = [(0, "split"), (1, "split"), (0, "limit"), (0, "trial", 1), (0, "trial", 2), (0, "tune/trial")]
    assert len({derive(*path) for path in paths}) == len(paths)
    assert all(0 <= derive(seed, "x") < 2**32 for seed in range(100))
