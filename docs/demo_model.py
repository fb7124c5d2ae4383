"""The model of `glassbox judge --demo`, trained by the stages *prepare*, *tune* and *train*.

    python -m docs.demo_model        # a few minutes on 2 cores; writes src/glassbox/demo_model/

The parameters are those of `studies/planted.yaml`, with a smaller network that still sees a whole glyph. It is written
only if it passes the gate of `scoring.planted_gate` on its test images.
"""

import importlib
import json
import os

from docs.network_table import ROOT, project
from glassbox import demo, models
from glassbox.config import parameters
from glassbox.core.errors import UserError, run
from glassbox.data import store
from glassbox.scoring import planted_gate

# Kernels of 7 pixels after a pooling of 2 see a whole glyph.
NETWORK = {"conv1_filters": 12, "conv2_filters": 24, "conv2_kernel_size": 7, "pool_size_2": 4, "dense_units_1": 16}
CHANGES = [
    f"data.planted.cell={demo.CELL}",
    f"data.planted.background={demo.BACKGROUND}",
    f"data.image_size={demo.SIZE}",
    *(f"model.arguments.{key}={json.dumps(value)}" for key, value in NETWORK.items()),
    "model.arguments.dense_dropout_1=0.0",
    "train.epochs=20",
    "compute.precision=float32",  # the same bytes where the processor has bfloat16 and where it has not
    "train.learning_rate=0.003",
]


def main() -> None:
    """Train, check and save the network.

    Raises:
        UserError: it does not pass the gate; the bundled one stays as it is.
    """
    os.environ["GLASSBOX_TRACKING"] = "off"
    text = parameters.edit(ROOT / "studies/planted.yaml", CHANGES)
    with project() as folder:
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        for stage in ("prepare", "tune", "train"):
            importlib.import_module(f"stages.{stage}").main()
        classifier, card = models.load("models")
        checks = planted_gate.check(classifier, store.read("data/prepared", "test"), batch_size=128)
    for check in checks:
        print(f"{check.name}: {check.value:.4g} ({check.limit})")
    if refusal := planted_gate.refusal(checks):
        raise UserError(refusal)
    models.save(demo.MODEL, classifier, card)
    print(f"{card.in_words()}\n{demo.MODEL} is new")


if __name__ == "__main__":
    run(main)
