"""onnx: an ONNX model in a .onnx file, run by onnxruntime, which only answers."""

from typing import Any, Literal

import numpy as np
import torch

from glassbox.core.errors import UserError
from glassbox.models.networks.in_file import FileNetwork, InFile, Unfit

COLOURS = 3
TRIED = 8  # inputs that tell probabilities from logits
NEAR = 1e-3  # by how much probabilities may miss a sum of 1: some networks are stored in 16 or 8 bits
OUTPUT_IS_PROBABILITIES = (
    "The ONNX model gives probabilities: their logarithms are taken as logits, so that softmax gives the same "
    "probabilities."
)


class OnnxNetwork(FileNetwork):
    """A model that onnxruntime runs on the CPU. It has no gradients, and its weights cannot be reached.

    Args:
        content: of the file.
        layout: of its input, "nchw" or "nhwc" (Keras's); None finds it from the shape of the input.
        output: "logits" or "probabilities"; None finds it: probabilities are what is never negative and sums to 1.
    """

    has_gradients = False

    def __init__(
        self,
        content: bytes,
        layout: Literal["nchw", "nhwc"] | None = None,
        output: Literal["logits", "probabilities"] | None = None,
    ) -> None:
        super().__init__(content, {"layout": layout, "output": output})
        for name, value, allowed in (
            ("layout", layout, ("nchw", "nhwc")),
            ("output", output, ("logits", "probabilities")),
        ):
            if value not in (None, *allowed):
                raise UserError(f"model.arguments.{name} is {value!r}, but must be {' or '.join(allowed)}")
        self.session = _session(content)
        self.input, shape = _input(self.session)
        self.layout = layout or _layout(shape)
        batch, *sides = shape if self.layout == "nchw" else [shape[place] for place in (0, 3, 1, 2)]
        self.batch = batch if isinstance(batch, int) else None  # images that it takes at a time; None: any number
        self.side = _side(sides)
        tried = torch.rand(TRIED, COLOURS, *[self.side or 32] * 2, generator=torch.Generator().manual_seed(0))
        tried[0], tried[1] = 0, 1
        answers = self._run(tried)
        if answers.ndim != 2:
            raise Unfit(f"gives {tuple(answers.shape)} for {TRIED} images, but must give one row of logits for each")
        self.outputs = answers.shape[1]
        sums = answers.double().sum(dim=1)
        found = bool((answers >= 0).all() and (sums - 1).abs().max() <= NEAR)
        self.gives_probabilities = found if output is None else output == "probabilities"
        if self.gives_probabilities:
            self.notes = [OUTPUT_IS_PROBABILITIES]

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = self._run(x.detach().float().cpu()).to(x.device)
        return answers.clamp_min(torch.finfo(torch.float32).tiny).log() if self.gives_probabilities else answers

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        """What the model gives for images (N, 3, H, W) float32 on the CPU."""
        if self.layout == "nhwc":
            x = x.permute(0, 2, 3, 1)
        parts = []
        for part in x.split(self.batch or max(1, len(x))):
            missing = (self.batch or len(part)) - len(part)
            filled = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
            (answers,) = self.session.run(None, {self.input: np.ascontiguousarray(filled.numpy())})
            parts.append(torch.from_numpy(np.asarray(answers, np.float32))[: len(part)])
        return torch.cat(parts)


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("model.name is onnx, which needs onnxruntime: pip install 'glassbox-xai[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its threads and PyTorch's share cores
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _input(session: Any) -> tuple[str, list[Any]]:
    """Name and shape of the only input; sides that may be any are no ints."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise Unfit(f"has {len(inputs)} inputs and {len(outputs)} outputs, but must have one of each")
    (only,) = inputs
    if only.type != "tensor(float)" or len(only.shape) != 4:
        raise Unfit(
            f"takes {only.type} of {len(only.shape)} dimensions, but must take tensor(float) of four, a batch of images"
        )
    return only.name, list(only.shape)


def _layout(shape: list[Any]) -> str:
    """By the place of the three colours.

    Raises:
        UserError: both places may be it, or neither.
    """
    first, last = shape[1], shape[3]
    if first == COLOURS and last != COLOURS:
        return "nchw"
    if last == COLOURS and first != COLOURS:
        return "nhwc"
    if {first, last} & {COLOURS} or not {type(first), type(last)} <= {int}:
        raise UserError(
            f"model.arguments.layout is missing: the ONNX model takes images {_words(shape)}, which does not say where "
            "the three colours are: it must be nchw or nhwc"
        )
    raise Unfit(f"takes images {_words(shape)}, but must take images of three colours")


def _side(sides: list[Any]) -> int | None:
    """Of square images, from colours, height and width; None: any."""
    colours, *shape = sides
    fixed = {side for side in shape if isinstance(side, int)}
    if (isinstance(colours, int) and colours != COLOURS) or len(fixed) > 1:
        raise Unfit(f"takes images of {_words(sides)} (colours x height x width), but must take square ones of three")
    return fixed.pop() if fixed else None


def _words(shape: list[Any]) -> str:
    return " x ".join(str(side) if isinstance(side, int) else "any" for side in shape)


class Onnx(InFile):
    """It takes `layout` and `output`, see `OnnxNetwork`."""

    name = "onnx"
    kind = OnnxNetwork
    has_gradients = False


SOURCE = Onnx()
