"""The parameters of a study: one frozen model a section of params.yaml, nothing unknown let in.

`load("study.seed", "data")` validates the whole file, so that a slip in `explain` is found before an hour of
training, and returns just the values asked for: a stage sees only what dvc.yaml declares for it.
"""

import difflib
import io
import math
import re
import reprlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError

from glassbox.errors import UserError, cut, masked

PARAMS_FILE = "params.yaml"
TUNED = "tuned"  # the value that stands for: take what the search found

MOST = 2**31 - 1  # of anything that is counted: what libraries take for a number of 32 bits
LARGEST = 1024  # side of an image in pixels; a blur wider than that is none

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
TrainingBatch = Annotated[int, Field(ge=2, le=MOST)]  # batch normalisation needs two images to compare
Count = Annotated[int, Field(ge=0, le=MOST)]
Strength = Annotated[float, Field(ge=0, le=1)]
Pool = Annotated[int, Field(ge=1, le=8)]
Kernel = Annotated[int, Field(ge=1, le=15)]
Activation = Literal["relu", "leaky_relu"]
Optimizer = Literal["adam", "sgd", "rmsprop"]


def _files_of(folder: str, *shared: str) -> list[str]:
    """Names of what has a file of its own in a folder. Nothing is imported, and nothing is listed here, so that a new
    explainer changes nothing for training."""
    return sorted({path.stem for path in (Path(__file__).parent / folder).glob("*.py")} - {"__init__", *shared})


SOURCES = _files_of("data/sources")
SourceName = Literal[*SOURCES]
ExplainerName = Literal[*_files_of("explainers", "base", "controls", "superpixels")]


def _odd(value: int | str) -> int | str:
    if isinstance(value, int) and value % 2 == 0:
        raise ValueError("a kernel size must be odd, so that 'same' padding is symmetric")
    return value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must not name one twice")
    return values


CNN = "cnn"  # the network of the CNN paper; any other name is one of torchvision's

# Hyperparameters of the search space that exist only together with one choice of another.
CONDITIONS = {
    "leaky_relu_alpha_1": ("activation_func1", "leaky_relu"),
    "leaky_relu_alpha_2": ("activation_func2", "leaky_relu"),
    "leaky_relu_alpha_3": ("activation_func_dense", "leaky_relu"),
    "adam_lr": ("optimizer", "adam"),
    "sgd_lr": ("optimizer", "sgd"),
    "sgd_momentum": ("optimizer", "sgd"),
    "rmsprop_lr": ("optimizer", "rmsprop"),
    "rmsprop_rho": ("optimizer", "rmsprop"),
}
IN_SPACE = {"momentum": "sgd_momentum", "rho": "rmsprop_rho"}  # what keys of the section train are called there


def is_used(name: str, network: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter exists, given the name of the network and the choices that it may hang on.

    Args:
        name: in the search space.
        network: model.name.
        chosen: the choices, at least those in `CONDITIONS` that belong to this network.
    """
    if name in CNN_KEYS and network != CNN:
        return False
    parent, wanted = CONDITIONS.get(name, (None, None))
    return parent is None or chosen[parent] == wanted


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Study(_Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


Precision = Literal["auto", "float32", "bfloat16"]


Gpus = Annotated[int, Field(ge=0, le=64)] | Annotated[float, Field(gt=0, lt=1)]  # whole ones, or a share of one


class Compute(_Section):
    engine: Literal["local", "ray"]
    address: Annotated[str, Field(pattern=r"^(auto|(ray://)?[A-Za-z0-9._-]+:[0-9]{1,5})$")] | None
    workers: Positive
    cpus: Annotated[int, Field(ge=1, le=1024)] | None
    gpus: Gpus
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")]
    precision: Precision
    tf32: bool
    deterministic: bool
    compile: bool | Literal["cuda_graphs"]
    batch_size: Positive
    threads: Annotated[int, Field(ge=1, le=1024)] | None


class Planted(_Section):
    images: Annotated[int, Field(ge=10, le=MOST)]
    cell: Positive
    variant: Literal["linear", "xor"]
    background: Literal["white", "noise", *(name for name in SOURCES if name != "planted")]
    watermark: Literal["I", "O", "T", "S", "L"] | None


def _table_or_pattern(value: str) -> str:
    if value.lower().endswith(".csv"):
        return value
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"as a regular expression it is wrong ({error}), and a table's name ends in .csv") from None
    if groups != 1:
        raise ValueError(f"a regular expression must have one group in parentheses, and it has {groups}")
    return value


Conversion = Literal["16-bit", "cmyk", "animation"]  # of images that are refused otherwise


class Data(_Section):
    source: SourceName
    path: Annotated[str, Field(min_length=1)] | None
    image_size: Annotated[int, Field(ge=8, le=LARGEST)]
    resize: Literal["crop", "pad", "stretch"]
    bad_images: Literal["refuse", "skip"]
    convert: Annotated[tuple[Conversion, ...], Field(strict=False), AfterValidator(_each_once)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    groups: Annotated[str, Field(min_length=1), AfterValidator(_table_or_pattern)] | None
    drop_duplicates: bool
    limit: Annotated[int, Field(ge=10, le=MOST)] | None
    planted: Planted | None = None  # only a study of planted glyphs has it

    def images_from(self) -> str:
        """The source that pictures come from: of planted glyphs that of their backgrounds."""
        return self.planted.background if self.planted else self.source


class Augment(_Section):
    flip: bool
    crop: Annotated[int, Field(ge=0, le=64)]
    brightness: Strength
    contrast: Strength
    saturation: Strength
    resize_first: bool
    validation_and_test: bool


def _list_of(element: Any) -> Any:
    # YAML has lists, a frozen model wants tuples: the container converts, its elements stay strict.
    return Annotated[tuple[element, ...], Field(strict=False, min_length=1)]


class Range(_Section):
    """A float drawn from [low, high], on a log scale if `log`."""

    low: float
    high: float
    log: bool

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low <= self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 on a log scale")
        return self


class Space(_Section):
    """The search space of the CNN paper (figures 6-9), under the paper's own names. What belongs to its network may be
    left out where another one is searched."""

    conv1_filters: _list_of(Positive) = None
    conv1_kernel_size: _list_of(Kernel) = None
    activation_func1: _list_of(Activation) = None
    leaky_relu_alpha_1: Range = None
    l2_reg_1: Range = None
    pool_size_1: _list_of(Pool) = None
    dropout_1: Range = None
    conv2_filters: _list_of(Positive) = None
    conv2_kernel_size: _list_of(Kernel) = None
    activation_func2: _list_of(Activation) = None
    leaky_relu_alpha_2: Range = None
    l2_reg_2: Range = None
    pool_size_2: _list_of(Pool) = None
    dense_units_1: _list_of(Positive) = None
    dense_l2_reg_1: Range = None
    activation_func_dense: _list_of(Activation) = None
    leaky_relu_alpha_3: Range = None
    dense_dropout_1: Range = None
    optimizer: _list_of(Optimizer)
    adam_lr: Range
    sgd_lr: Range
    sgd_momentum: Range
    rmsprop_lr: Range
    rmsprop_rho: Range

    @field_validator("conv1_kernel_size", "conv2_kernel_size")
    @classmethod
    def _odd_kernels(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            _odd(value)
        return values

    @field_validator("*")
    @classmethod
    def _within_what_the_network_takes(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Range):
            if value.low < 0:
                raise ValueError(f"low ({value.low}) must not be below 0")
            if info.field_name.endswith("_lr") and value.high > 10:
                raise ValueError(f"high ({value.high}) must not be above 10")
            if not info.field_name.endswith("_lr") and value.high >= 1:
                raise ValueError(f"high ({value.high}) must be below 1")
        return value


# Without a password, which would be told in MLflow and in messages; nothing of libpq's other settings, which come from
# the environment as well.
DATABASE = r"^postgresql\+psycopg://([^\s:/?#@{}]+@)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/[^\s:/?#@{}]+$"


class Tune(_Section):
    n_trials: Count
    workers: Positive
    storage: Annotated[str, Field(pattern=DATABASE, max_length=500)] | None
    gpus: Gpus | None
    startup_trials: Positive
    epochs: Positive
    batch_size: TrainingBatch
    patience: Positive
    pruner_startup_trials: Count
    pruner_warmup_epochs: Count
    space: Space


Tuned = Literal["tuned"]
Leak = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=0, le=1)]


class Model(_Section):
    """The network: that of the CNN paper, with a value or `tuned` for each of its hyperparameters, or one of
    torchvision, for which these may be left out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=64)]
    normalization: Literal["data", "imagenet", "half", "none"]
    input_size: Annotated[int, Field(ge=8, le=LARGEST)] | None
    batch_norm_momentum: Fraction
    weights: Annotated[str, Field(min_length=1)] | None
    stem: Literal["imagenet", "cifar"]
    dropout: Fraction
    conv1_filters: Positive | Tuned = TUNED
    conv1_kernel_size: Kernel | Tuned = TUNED
    activation_func1: Activation | Tuned = TUNED
    leaky_relu_alpha_1: Leak | Tuned = TUNED
    l2_reg_1: Penalty | Tuned = TUNED
    pool_size_1: Pool | Tuned = TUNED
    dropout_1: Fraction | Tuned = TUNED
    conv2_filters: Positive | Tuned = TUNED
    conv2_kernel_size: Kernel | Tuned = TUNED
    activation_func2: Activation | Tuned = TUNED
    leaky_relu_alpha_2: Leak | Tuned = TUNED
    l2_reg_2: Penalty | Tuned = TUNED
    pool_size_2: Pool | Tuned = TUNED
    dense_units_1: Positive | Tuned = TUNED
    dense_l2_reg_1: Penalty | Tuned = TUNED
    activation_func_dense: Activation | Tuned = TUNED
    leaky_relu_alpha_3: Leak | Tuned = TUNED
    dense_dropout_1: Fraction | Tuned = TUNED

    _odd_kernel = field_validator("conv1_kernel_size", "conv2_kernel_size")(_odd)


CNN_KEYS = tuple(name for name, field in Model.model_fields.items() if not field.is_required())


def network_keys(network: str) -> tuple[str, ...]:
    """The keys of the section `model` that are hyperparameters of the network of that name."""
    own = CNN_KEYS if network == CNN else ("weights", "stem", "dropout")
    return (*own, "batch_norm_momentum")


class Train(_Section):
    epochs: Positive
    head_epochs: Count
    workers: Annotated[int, Field(ge=1, le=4096)]
    batch_size: TrainingBatch
    optimizer: Optimizer | Tuned
    learning_rate: Annotated[float, Field(gt=0, le=10)] | Tuned
    momentum: Fraction | Tuned
    rho: Fraction | Tuned
    weight_decay: Penalty
    label_smoothing: Fraction
    class_weights: Literal["balanced"] | None
    sampling: Literal["shuffle", "balanced"]
    patience: Positive
    watch: Literal["loss", "penalized_loss"]
    min_delta: Annotated[float, Field(ge=0, le=1000)]
    keep: Literal["best", "last"]
    schedule: Literal["plateau", "one_cycle", "constant"]
    warmup: Annotated[float, Field(gt=0, lt=1)]
    lr_factor: Annotated[float, Field(gt=0, lt=1)]
    lr_patience: Positive
    min_learning_rate: Annotated[float, Field(ge=0, le=10)]


def is_balanced(class_weights: str | None, sampling: str) -> bool:
    """Whether training makes every class count the same; validation then does so as well."""
    return "balanced" in (class_weights, sampling)


def judged_by(class_weights: str | None, sampling: str) -> str:
    """The measure by which trainings are compared: the name of an epoch's field, and of what is written of trials."""
    return "validation_balanced_accuracy" if is_balanced(class_weights, sampling) else "validation_accuracy"


class Evaluate(_Section):
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    confused_pairs: Positive
    gallery: Positive
    target_accuracy: Annotated[float, Field(gt=0, lt=1)]


MOST_REGIONS = 1.5  # that are taken for each segment asked for: KernelSHAP has two coalitions for each of them


class Superpixels(_Section):
    segments: Annotated[int, Field(ge=8, le=4096)]
    compactness: Annotated[float, Field(gt=0, le=1e6)]
    sigma: Annotated[float, Field(ge=0, le=LARGEST)]


LimeSamples = Annotated[int, Field(ge=50, le=MOST)]


def slic_regions(segments: int, side: int) -> int:
    """How many regions SLIC begins with, and about ends with where an image has one colour: those of a regular grid,
    whose step is the whole number of pixels nearest to the wanted one (scikit-image's `regular_grid`)."""
    step = side / math.sqrt(segments)
    return len(range(int(step // 2), side, max(1, round(step)))) ** 2


class LimeStability(_Section):
    images: Count
    samples: _list_of(LimeSamples)
    seeds: Annotated[int, Field(ge=2, le=MOST)]

    @field_validator("samples")
    @classmethod
    def _growing(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if list(values) != sorted(set(values)):
            raise ValueError("the numbers of samples must grow")
        return values


class Lime(_Section):
    samples: LimeSamples
    regions: Positive
    stability: LimeStability


class KernelShap(_Section):
    coalitions: Annotated[int, Field(ge=32, le=8192)]  # whose pairs make a matrix that is inverted
    tolerance: Annotated[float, Field(gt=0, le=1)] | None
    background: Positive
    classes: Count


class PartitionShap(_Section):
    evaluations: Annotated[int, Field(ge=4, le=MOST)]


class GradientShap(_Section):
    samples: Positive
    background: Positive


class IntegratedGradients(_Section):
    steps: Annotated[int, Field(ge=2, le=MOST)]
    baseline: Literal["black", "mean"]


class GradCam(_Section):
    relu: bool


class Occlusion(_Section):
    window: Positive
    stride: Positive

    @model_validator(mode="after")
    def _no_gaps(self) -> "Occlusion":
        if self.stride > self.window:
            raise ValueError(
                f"stride is {self.stride}: it must not be above window, {self.window}, or pixels would never be covered"
            )
        return self


class Faithfulness(_Section):
    steps: Annotated[int, Field(ge=2, le=MOST)]
    blur_sigma: Annotated[float, Field(gt=0, le=LARGEST)]


class Analyses(_Section):
    hidden: Annotated[float, Field(gt=0, lt=1)]
    random_draws: Positive


class Explain(_Section):
    images: Annotated[tuple[Count, ...], Field(strict=False)]
    correct_per_class: Count
    mistakes: Count
    pairs: Count
    images_per_pair: Positive
    figures: Positive | None
    explainers: _list_of(ExplainerName)
    precision: Precision
    superpixels: Superpixels
    lime: Lime
    kernel_shap: KernelShap
    partition_shap: PartitionShap
    gradient_shap: GradientShap
    integrated_gradients: IntegratedGradients
    grad_cam: GradCam
    occlusion: Occlusion
    faithfulness: Faithfulness
    analyses: Analyses

    @model_validator(mode="after")
    def _it_can_be_done(self) -> "Explain":
        if len(self.images) + self.correct_per_class + self.mistakes + self.pairs == 0:
            raise ValueError(
                "correct_per_class, mistakes and pairs must not all be 0 and images empty: there would be nothing to "
                "explain"
            )
        for name in ("images", "explainers"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must not name one twice")
        fewest = 3 * self.superpixels.segments  # SLIC may find somewhat more regions than it is asked for
        if "kernel_shap" in self.explainers and self.kernel_shap.coalitions < fewest:
            raise ValueError(
                f"kernel_shap.coalitions is {self.kernel_shap.coalitions}: it must be at least three times "
                f"superpixels.segments, {fewest}"
            )
        return self


def _settings_of(element: Any, least: int = 3) -> Any:
    # The first one ranks; with three or more the others tell whether the ranking depends on the choice.
    return Annotated[tuple[element, ...], Field(strict=False, min_length=least), AfterValidator(_each_once)]


Above = Annotated[float, Field(gt=0, lt=1)]  # a share
Baseline = Literal["mean", "blur", "black"]


class Correlation(_Section):
    cells: Annotated[int, Field(ge=2, le=MOST)]
    shares: _settings_of(Above)
    draws: Annotated[int, Field(ge=10, le=MOST)]


class Road(_Section):
    shares: _settings_of(Above)
    noise: Annotated[float, Field(ge=0, lt=1)]

    @field_validator("shares")
    @classmethod
    def _rising(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if list(values) != sorted(values):
            raise ValueError("the shares must rise")  # so that there is a lower and an upper half of them
        return values


class Robustness(_Section):
    images: Positive
    draws: Positive
    # One value of each is enough: every further one takes the explainers as long as the first.
    noise: _settings_of(Above, least=1)
    brightness: _settings_of(Above, least=1)
    shift: _settings_of(Positive, least=1)
    attack: _settings_of(Above, least=1)
    attack_steps: Positive


class Randomization(_Section):
    images: Positive
    steps: Positive
    bins: _settings_of(Annotated[int, Field(ge=2, le=MOST)])


class Score(_Section):
    images: Positive
    draw: Literal["random", "by_class"]
    matched_evaluations: Annotated[int, Field(ge=50, le=MOST)]
    steps: Annotated[int, Field(ge=2, le=MOST)]
    deletion: _settings_of(Baseline)
    insertion: _settings_of(Baseline)
    correlation: Correlation
    road: Road
    margins: _settings_of(Count)
    robustness: Robustness
    randomization: Randomization

    @model_validator(mode="after")
    def _some_of_the_images(self) -> "Score":
        for section in ("robustness", "randomization"):
            n = getattr(self, section).images
            if n > self.images:
                raise ValueError(f"{section}.images is {n}: it must not be above images, {self.images}")
        return self


class Params(_Section):
    study: Study
    compute: Compute
    data: Data
    augment: Augment
    tune: Tune
    model: Model
    train: Train
    evaluate: Evaluate
    explain: Explain
    score: Score

    @model_validator(mode="after")
    def _sections_agree(self) -> "Params":
        if self.data.source == "planted" and self.data.planted is None:
            raise ValueError("data.planted is missing: data.source = planted needs it, see studies/planted.yaml")
        if self.data.source != "planted" and self.data.planted is not None:
            raise ValueError(f"data.planted is there: with data.source = {self.data.source} it must not be")
        if self.data.planted is not None and self.data.planted.variant != "linear" and self.data.planted.watermark:
            raise ValueError(
                f"data.planted.watermark is {self.data.planted.watermark!r}: with data.planted.variant = "
                f"{self.data.planted.variant} it must be null"
            )
        if self.data.groups is not None and self.data.source != "image_folder":
            raise ValueError(
                f"data.groups is {_shown(self.data.groups)}: with data.source = {self.data.source} it must be "
                "null; only images in files have names"
            )
        source, key = self.data.images_from(), "data.planted.background" if self.data.planted else "data.source"
        if source == "image_folder" and self.data.path is None:
            raise ValueError(f"data.path is null: with {key} = image_folder it must name the folder of the images")
        if source == "cifar10" and self.data.image_size != 32:
            raise ValueError(f"data.image_size is {self.data.image_size}: with {key} = cifar10 it must be 32")
        if self.model.name == CNN:
            for key, value, wanted in (("weights", self.model.weights, None), ("stem", self.model.stem, "imagenet"),
                                       ("dropout", self.model.dropout, 0.0)):  # fmt: skip
                if value != wanted:
                    allowed = "null" if wanted is None else wanted
                    raise ValueError(f"model.{key} is {_shown(value)}: with model.name = cnn it must be {allowed}")
            for section, given in (("model", self.model), ("tune.space", self.tune.space)):
                absent = [name for name in CNN_KEYS if name not in given.model_fields_set]
                if absent:
                    raise ValueError(f"{section}.{absent[0]} is missing: the network cnn needs it")
        if self.augment.resize_first and self.model.input_size is None:
            raise ValueError("augment.resize_first is true: model.input_size must then be a number, not null")
        if self.compute.engine == "ray" and self.tune.n_trials and self.tune.storage is None:
            raise ValueError(
                "tune.storage is null: with compute.engine = ray it must be a database, which all workers reach, or "
                "tune.n_trials 0"
            )
        if self.tune.gpus is not None and bool(self.tune.gpus) != bool(self.compute.gpus):
            raise ValueError(
                f"tune.gpus is {self.tune.gpus:g}: with compute.gpus = {self.compute.gpus:g} it must be "
                f"{'above 0' if self.compute.gpus else '0 or null'}"
            )
        fits = "cuda" if self.compute.gpus else "cpu"
        if self.compute.engine == "ray" and self.compute.device.partition(":")[0] not in ("auto", fits):
            raise ValueError(
                f"compute.device is {self.compute.device}: with compute.engine = ray and compute.gpus = "
                f"{self.compute.gpus:g} it must be auto or {fits}"
            )
        if self.train.workers > 1 and 0 < self.compute.gpus < 1:
            raise ValueError(
                f"compute.gpus is {self.compute.gpus:g}: with train.workers = {self.train.workers} it must be 0 or a "
                "whole number, for those who train together cannot share a GPU"
            )
        if self.train.workers > 1 and self.compute.engine != "ray":
            raise ValueError(
                f"train.workers is {self.train.workers}: with compute.engine = {self.compute.engine} it must be 1"
            )
        if self.train.class_weights == self.train.sampling == "balanced":
            raise ValueError(
                "train.class_weights is balanced: with train.sampling = balanced it must be null, for each of the two "
                "alone makes every class count the same"
            )
        if self.train.head_epochs > self.train.epochs:
            raise ValueError(
                f"train.head_epochs is {self.train.head_epochs}: it must not be above train.epochs, {self.train.epochs}"
            )
        fewest = 1 + 3 * self.explain.superpixels.segments
        if "kernel_shap" in self.explain.explainers and self.score.matched_evaluations < fewest:
            raise ValueError(
                f"score.matched_evaluations is {self.score.matched_evaluations}: with kernel_shap it must be at least "
                f"1 more than three times explain.superpixels.segments, {fewest}"
            )
        self._images_are_large_enough()
        missing = self._still_tuned()
        if self.tune.n_trials == 0 and missing:
            raise ValueError(
                f"{', '.join(missing)} must be given a value: 'tuned' stands there, but tune.n_trials is 0"
            )
        return self

    def _images_are_large_enough(self) -> None:
        asked, side = self.explain.superpixels.segments, self.data.image_size
        if max(self.score.robustness.shift) >= side:
            raise ValueError(
                f"score.robustness.shift has {max(self.score.robustness.shift)}: with data.image_size = {side} it must "
                f"be below {side}, or nothing of the image would be left"
            )
        if "occlusion" in self.explain.explainers and self.explain.occlusion.window >= side:
            raise ValueError(
                f"explain.occlusion.window is {self.explain.occlusion.window}: with data.image_size = {side} it must "
                f"be below {side}, or one square would cover the whole image"
            )
        if asked > side * side:
            raise ValueError(
                f"explain.superpixels.segments is {asked}: with data.image_size = {side} it must not be above "
                f"{side * side}, the number of pixels"
            )

        def fits(segments: int) -> bool:
            return slic_regions(segments, side) <= MOST_REGIONS * segments

        if not fits(asked):
            more = next(n for n in range(asked, side * side + 1) if fits(n))
            fewer = next((n for n in range(asked, 7, -1) if fits(n)), None)
            raise ValueError(
                f"explain.superpixels.segments is {asked}, but with data.image_size = {side} SLIC makes "
                f"{slic_regions(asked, side)} regions of it, more than KernelSHAP has coalitions for: take "
                f"{f'{fewer} or ' if fewer else ''}{more}"
            )

    def _still_tuned(self) -> list[str]:
        """Keys that need a value from the search, conditional ones only where their condition is given."""
        given = dict(self.model) | dict(self.train)
        return [
            f"{section}.{name}"
            for section in ("model", "train")
            for name, value in getattr(self, section)
            if value == TUNED and is_used(IN_SPACE.get(name, name), self.model.name, given)
        ]


def read(file: str | Path = PARAMS_FILE) -> Params:
    """Validate a whole parameter file.

    Raises:
        UserError: the file is missing, not YAML, or holds a wrong, missing or unknown key.
    """
    return _validate(_parse(file), file)


def parse(text: str, file: str | Path = PARAMS_FILE) -> Params:
    """The parameters in the text of a parameter file.

    Raises:
        UserError: it is not YAML, or holds a wrong, missing or unknown key; `file` is named.
    """
    return _validate(_parse_text(text, file), file)


def check_images(rows: Iterable[int], n: int) -> None:
    """Whether `explain.images` names test images, of which there are `n`.

    Raises:
        UserError: one of them is none.
    """
    for row in rows:
        if row >= n:
            raise UserError(f"{PARAMS_FILE}: explain.images names {row}, but must name test images, 0 to {n - 1}")


def load(*keys: str, file: str | Path = PARAMS_FILE) -> Any:
    """The validated values at dotted `keys`: one value for one key, a tuple for several.

    >>> seed, data = load("study.seed", "data")  # doctest: +SKIP
    """
    params = read(file)
    values = []
    for key in keys:
        value: Any = params
        for part in key.split("."):
            value = getattr(value, part)
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def edit(file: str | Path, changes: Iterable[str]) -> str:
    """The text of a parameter file with some values changed; comments stay.

    Args:
        file: the parameter file.
        changes: like "train.epochs=3"; the value is YAML.

    Raises:
        UserError: a change is no KEY=VALUE, or the result is not valid.
    """
    _validate(_parse(file), file)
    changes = list(changes)
    if not changes:
        return Path(file).read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    tree = yaml.load(Path(file).read_text(encoding="utf-8"))
    for change in changes:
        key, equals, value = change.partition("=")
        if not (key and equals):
            raise UserError(f"{_shown(change)} is no change of a parameter: it must be like train.epochs=3")
        *path, last = key.split(".")
        section = tree
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise UserError(f"{_dotted([key])} is not a parameter in {file}")
        try:
            section[last] = _yaml(value)
        except YAMLError:
            raise UserError(f"{_shown(change)} is no change of a parameter: {_shown(value)} is not YAML") from None
    stream = io.StringIO()
    yaml.dump(tree, stream)
    _validate(_parse_text(stream.getvalue(), file), file)
    return stream.getvalue()


def flatten(section: BaseModel | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys to plain values, as `dvc exp run -S` and MLflow name them.

    >>> flatten({"train": {"epochs": 3}})
    {'train.epochs': 3}
    """
    # Keys that were left out, because another network needs them, are no parameters of this study.
    tree = section.model_dump(exclude_unset=True) if isinstance(section, BaseModel) else section
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _parse(file: str | Path) -> Any:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing: copy one of studies/*.yaml to it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return _parse_text(text, file)


def _parse_text(text: str, file: str | Path) -> Any:
    try:
        return _yaml(text)
    except YAMLError as error:
        mark, said = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(said.split()))
        raise UserError(f"{file} is not YAML: {where}{cut(said)}") from None


class _Constructor(SafeConstructor):
    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > 1000:  # merges of merges of merges would fill the memory
            raise ConstructorError(problem="merges make more than 1000 keys of it", problem_mark=node.start_mark)


def _yaml(text: str) -> Any:
    """The plain values of a YAML text.

    Raises:
        YAMLError: it is none, or a tag of it asks for more than plain values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on YAML 1.1, if the text says that it is that
        try:
            yaml = YAML(typ="safe", pure=True)
            yaml.Constructor = _Constructor
            return yaml.load(text)
        except YAMLError:
            raise
        except Exception as error:  # a tag like !!int before what is none, a thousand brackets: anything may happen
            raise YAMLError(f"{type(error).__name__}: {error}") from None


def _validate(tree: Any, file: str | Path) -> Params:
    if not isinstance(tree, dict):
        raise UserError(f"{file} must hold the sections {', '.join(Params.model_fields)}; it holds {_shown(tree)}")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{file}: {_sentence(error, tree)}") from None


def _sentence(error: ValidationError, tree: dict[str, Any]) -> str:
    """One sentence for the first wrong key: its path, its value and what is allowed."""
    problems = error.errors(include_url=False)
    first, _ = _locate(problems[0]["loc"], tree)
    # A key that takes a number or a word yields one problem for each: they belong together.
    same = [problem for problem in problems if _locate(problem["loc"], tree)[0] == first]
    problem, key = same[0], _dotted(first)
    if problem["type"] == "string_unicode" and isinstance(_locate(first, tree)[1], dict):  # half a surrogate pair
        return f"{_dotted([*first, problem['input']])} is not a parameter: every key must be text"
    if problem["type"] == "invalid_key":
        return f"{_dotted(problem['loc'])} is not a parameter: every key must be text"
    if problem["type"] == "missing":
        return f"{key}.{problem['loc'][-1]} is missing" if key else f"the section {problem['loc'][-1]} is missing"
    if problem["type"] == "extra_forbidden":
        siblings = list(_model_at(first[:-1]).model_fields)
        close = difflib.get_close_matches(str(first[-1])[:100], siblings, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{key} is not a parameter; {hint}allowed here: {', '.join(siblings)}"
    value = problem["input"]
    shown = "" if isinstance(value, dict | BaseModel) else f" is {_shown(value)}"
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{key}{shown}: {message}" if key else message  # between sections it names the keys itself
    allowed = list(dict.fromkeys(_allowed(p, first) for p in same))
    field = _model_at(first[:-1]).model_fields.get(first[-1]) if isinstance(first[-1], str) else None
    if field is not None and type(None) in get_args(field.annotation):
        allowed.append("null")
    return f"{key}{shown or ' is a section of keys'}, but must be {' or '.join(allowed)}"


class _Short(reprlib.Repr):
    """`repr` that ends: of a value that holds itself, or a billion others, or a number of a million digits; null, true
    and false as YAML writes them. Passwords in addresses are not told."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.fillvalue = 3, "…"
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 10
        self.maxstring = self.maxother = 200

    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(masked(value), level)

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: ARG002 (the name that reprlib looks for)
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:  # noqa: ARG002
        return "true" if value else "false"

    def repr_float(self, value: float, level: int) -> str:  # noqa: ARG002
        return repr(value) if math.isfinite(value) else repr(value).replace("inf", ".inf").replace("nan", ".nan")

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002
        return repr(value) if value.bit_length() < 1000 else f"a number of {value.bit_length()} bits"


def _shown(value: Any) -> str:
    """A value in a sentence: on one line, and the middle left out of what is long."""
    return cut(_Short().repr(value))


def _dotted(path: Iterable[Any]) -> str:
    """Keys as a sentence names them."""
    parts = [str(part) for part in path]
    return ".".join(part if part and part.isprintable() and len(part) <= 100 else _shown(part) for part in parts)


# pydantic speaks of Python's types; a parameter file has lists and keys.
_ALLOWED = {
    "tuple_type": "a list",
    "model_type": "a section of keys",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "none_required": "null",
}
_PATTERNS = {
    ("study", "name"): "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
    ("compute", "device"): "auto, cpu, cuda or cuda:N",
    ("compute", "address"): "auto, HOST:PORT or ray://HOST:PORT",
    ("tune", "storage"): "postgresql+psycopg://[USER@]HOST[:PORT]/DATABASE (a password belongs in PGPASSWORD or "
    "~/.pgpass)",
    ("model", "name"): "cnn or the name of a classification network of torchvision, like resnet18",
}


# Of a number of two kinds pydantic tells the bounds of both.
_TWO_KINDS = dict.fromkeys(
    (("compute", "gpus"), ("tune", "gpus")),
    "a whole number from 0 to 64, or a share of one GPU, above 0 and below 1",
)


def _allowed(problem: dict[str, Any], path: tuple[Any, ...]) -> str:
    if path in _TWO_KINDS:
        return _TWO_KINDS[path]
    if problem["type"] in ("string_pattern_mismatch", "string_too_long"):
        return _PATTERNS[path]
    if problem["type"] == "too_short":
        least = problem["ctx"]["min_length"]
        return f"a list of at least {'one value' if least == 1 else f'{least} values'}"
    return _ALLOWED.get(problem["type"]) or problem["msg"].removeprefix("Input should be ")


def _locate(location: tuple[Any, ...], tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of a pydantic location that exists in the file, without pydantic's own tags for the members of a
    union, and the value there."""
    path: list[Any] = []
    for part in location:
        known = part in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(part, int)
        if not known:
            break
        tree = tree[part]
        path.append(part)
    return tuple(path), tree


def _model_at(path: tuple[Any, ...]) -> type[BaseModel]:
    model: Any = Params
    for part in path:
        model = model.model_fields[part].annotation
        if get_args(model):  # a section that may be left out: `Planted | None`
            model = get_args(model)[0]
    return model
