import numpy as np
import pytest

from glassbox.xai_metrics.sparseness import gini


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Shares 1/10, 2/10, 3/10, 4/10: 1 - 2 * (3.5 + 2 * 2.5 + 3 * 1.5 + 4 * 0.5) / 40 = 0.25.
        ([[1.0, -4.0], [3.0, 2.0]], 0.25),
        ([[0.0, 0.0], [0.0, -3.0]], 0.75),  # one pixel is the sparsest
        ([[-2.0, -2.0], [-2.0, -2.0]], 0.0),
        ([[0.0, 0.0], [0.0, 0.0]], np.nan),
    ],
)
def test_gini_by_hand(values, expected):
    assert gini(np.array([values])) == pytest.approx([expected], nan_ok=True)
