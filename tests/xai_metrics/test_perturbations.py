import numpy as np

from glassbox.xai_metrics import perturbations

RAMP = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20  # 0..220


def test_noise_stays_within_its_radius_and_is_that_of_the_seed():
    grey = np.full((2, 8, 8, 3), 128, np.uint8)
    noisy = perturbations.noise(grey, 0.1, (1, 2))
    assert noisy.dtype == np.uint8
    assert 20 < np.abs(noisy.astype(int) - 128).max() <= 26  # 0.1 of 255, rounded
    assert np.array_equal(noisy[0], perturbations.noise(grey[:1], 0.1, (1,))[0])
    assert not np.array_equal(noisy[0], noisy[1])
    white = perturbations.noise(np.full((1, 8, 8, 3), 255, np.uint8), 0.2, (1,))
    assert white.max() == 255
    assert (white == 255).mean() > 0.4  # whatever would be brighter


def test_brightness_multiplies_and_is_cut():
    brighter = perturbations.brighter(np.repeat(RAMP, 4, axis=0), np.array([0.1, 0.5, -0.1, 0.0]))
    assert np.array_equal(brighter[0], RAMP[0] // 10 * 11)
    assert brighter[1].max() == 255
    assert brighter[2].ravel().tolist()[:3] == [0, 18, 36]
    assert np.array_equal(brighter[3], RAMP[0])


def test_a_shift_moves_to_the_lower_right_and_repeats_the_border():
    shifted = perturbations.shifted(np.tile(np.arange(9).reshape(3, 3), (3, 1, 1)), np.array([1, -1, 0]))
    assert shifted[0].tolist() == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]
    assert shifted[1].tolist() == [[4, 5, 5], [7, 8, 8], [7, 8, 8]]
    assert shifted[2].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert perturbations.shifted(RAMP, np.array([0])).tolist() == RAMP.tolist()


def test_a_shift_there_and_back_keeps_what_has_not_left_the_image():
    values = np.arange(16).reshape(1, 4, 4)
    for by in (1, -2):
        back = perturbations.shifted(perturbations.shifted(values, np.array([by])), np.array([-by]))[0]
        inside = perturbations.still_there(4, 4, by)
        assert inside.sum() == (4 - abs(by)) ** 2
        assert np.array_equal(back[inside], values[0][inside])
