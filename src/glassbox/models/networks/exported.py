"""exported: a program of torch.export in a .pt2 file, network and weights together."""

import io
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from glassbox.models.networks.in_file import FileNetwork, InFile, Unfit

aten = torch.ops.aten
# What explainers and attacks know by the functions that PyTorch's layers call. A program calls the operators that
# these stand for; the arguments are the same, up to so many.
KNOWN = {
    aten.relu.default: (functional.relu, 1),
    aten.leaky_relu.default: (functional.leaky_relu, 2),
    aten.hardsigmoid.default: (functional.hardsigmoid, 1),
    aten.hardswish.default: (functional.hardswish, 1),
    aten.gelu.default: (functional.gelu, 1),
    aten.silu.default: (functional.silu, 1),
    aten.mish.default: (functional.mish, 1),
    aten.softmax.int: (torch.softmax, 3),
    aten.layer_norm.default: (functional.layer_norm, 5),
    aten.scaled_dot_product_attention.default: (functional.scaled_dot_product_attention, 6),
}
IN_PLACE = {
    aten.relu_.default: (functional.relu, 1),
    aten.leaky_relu_.default: (functional.leaky_relu, 2),
    aten.hardsigmoid_.default: (functional.hardsigmoid, 1),
    aten.hardswish_.default: (functional.hardswish, 1),
    aten.silu_.default: (functional.silu, 1),
    aten.mish_.default: (functional.mish, 1),
}
# Operators that differ in training mode, and the place of the argument that says so.
MODE = {aten.dropout.default: 2, aten.dropout_.default: 2, aten.feature_dropout.default: 2, aten.batch_norm.default: 5}


class ExportedNetwork(FileNetwork):
    """The layers of a program under their names in the module that was exported."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content, {})
        program = torch.export.load(io.BytesIO(content))
        image, logits = _shapes(program)
        for node in program.graph.nodes:
            place = MODE.get(node.target)
            if place is not None and node.args[place]:
                raise Unfit(
                    "was exported in training mode, in which it drops features or normalizes by the batch: export it "
                    "anew after network.eval()"
                )
        if isinstance(image[0], int):
            raise Unfit(
                f"takes batches of {image[0]} alone: export it anew for any number of images, with "
                'torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)) and two images'
            )
        self.side = image[2] if isinstance(image[2], int) else None
        self.outputs = logits[1]
        self.program = torch.export.unflatten(program)
        for module in self.program.modules():
            _name_functions(module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program(x)


def _shapes(program: torch.export.ExportedProgram) -> tuple[torch.Size, torch.Size]:
    """Of the images and of the logits; a side that may be any is no int.

    Raises:
        Unfit: the program takes or gives something else.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    sides = []
    for what, names, dimensions in (
        ("take images (N, 3, H, W)", program.graph_signature.user_inputs, 4),
        ("give logits (N, K)", program.graph_signature.user_outputs, 2),
    ):
        values = [nodes[name].meta.get("val") if name in nodes else name for name in names]
        shapes = [value.shape if isinstance(value, torch.Tensor) else None for value in values]
        if len(shapes) != 1 or shapes[0] is None or len(shapes[0]) != dimensions:
            found = ", ".join("no tensor" if s is None else str(tuple(s)) for s in shapes)
            raise Unfit(f"must {what}, one tensor, but has {found}")
        sides.append(shapes[0])
    image, logits = sides
    if image[1] != 3 or image[2] != image[3] or not isinstance(logits[1], int):
        raise Unfit(
            f"takes {tuple(image)} and gives {tuple(logits)}, but must take square images of three colours, "
            "(N, 3, H, H), and give logits (N, K)"
        )
    return image, logits


def _name_functions(module: nn.Module) -> None:
    """Have a module of the program call the functions that stand in `KNOWN` and `IN_PLACE`."""
    graph: Any = getattr(module, "graph", None)
    for node in graph.nodes if graph else ():
        table = KNOWN if node.target in KNOWN else IN_PLACE
        if node.target in table:
            node.target, arguments = table[node.target]
            node.args = node.args[:arguments]
            node.kwargs = node.kwargs | ({"inplace": True} if table is IN_PLACE else {})


class Exported(InFile):
    """It takes no arguments."""

    name = "exported"
    kind = ExportedNetwork


SOURCE = Exported()
