import numpy as np

from glassbox.xai_metrics import perturbations

RAMP = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20  # 0..220


def test_noise_stays_within_its_radius_and_is_that_of_the_seed():
    grey = np.full((2, 8, 8, 3), 128, np.uint8)
    made = perturbations.noise(grey, 0.1, (1, 2))
    assert made.dtype == np.uint8
    assert 20 < np.abs(made.astype(int) - 128).max() <= 26  # 0.1 of 255, rounded
    assert np.array_equal(made[0], perturbations.noise(grey[:1], 0.1, (1,))[0])
    assert not np.array_equal(made[0], made[1])


def test_noise_is_cut_at_black_and_white():
    made = perturbations.noise(np.full((1, 8, 8, 3), 255, np.uint8), 0.2, (1,))
    assert made.max() == 255
    assert (made == 255).mean() > 0.4  # whatever would be brighter


def test_brightness_multiplies_and_is_cut():
    assert perturbations.brighter(RAMP, np.array([0.1])).ravel().tolist() == [
        0, 22, 44, 66, 88, 110, 132, 154, 176, 198, 220, 242
    ]  # fmt: skip
    assert perturbations.brighter(RAMP, np.array([0.5])).max() == 255
    assert perturbations.brighter(RAMP, np.array([-0.1])).ravel().tolist()[:3] == [0, 18, 36]


def test_a_shift_moves_to_the_lower_right_and_repeats_the_border():
    values = np.arange(9).reshape(1, 3, 3)
    assert perturbations.shifted(values, np.array([1]))[0].tolist() == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]
    assert perturbations.shifted(values, np.array([-1]))[0].tolist() == [[4, 5, 5], [7, 8, 8], [7, 8, 8]]
    assert perturbations.shifted(RAMP, np.array([0])).tolist() == RAMP.tolist()


def test_what_is_shifted_and_back_is_the_same_where_it_has_not_left():
    values = np.arange(16).reshape(1, 4, 4)
    for by in (1, -2):
        back = perturbations.shifted(perturbations.shifted(values, np.array([by])), np.array([-by]))[0]
        inside = perturbations.still_there(4, 4, by)
        assert inside.sum() == (4 - abs(by)) ** 2
        assert np.array_equal(back[inside], values[0][inside])


def test_each_image_has_its_own_change():
    two = np.repeat(RAMP, 2, axis=0)
    made = perturbations.shifted(two, np.array([1, 0]))
    assert made[0].tolist() == perturbations.shifted(RAMP, np.array([1]))[0].tolist()
    assert made[1].tolist() == RAMP[0].tolist()
    made = perturbations.brighter(two, np.array([0.0, 0.1]))
    assert made[0].tolist() == RAMP[0].tolist()
    assert made[1].max() == 242
