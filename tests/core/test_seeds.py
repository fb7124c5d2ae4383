from glassbox.core.seeds import derive


def test_a_stream_is_fixed_by_seed_and_name():
    # The first four bytes of the SHA-256 of "0/split": the value must never change, or no old study can be repeated.
    assert derive(0, "split") == 0x68A30A9F
    names = [
        (0, "split"),
        (1, "split"),
        (0, "limit"),
        (0, "tune", "trial", 1),
        (0, "tune", "trial", 2),
        (0, "tune/trial"),
    ]
    assert len({derive(seed, *path) for seed, *path in names}) == len(names)
    assert all(0 <= derive(seed, "x") < 2**32 for seed in range(100))
