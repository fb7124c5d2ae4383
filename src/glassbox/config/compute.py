"""The section `compute`: devices, machines and precision."""

from typing import Annotated, Literal

from pydantic import Field

from glassbox.config.section import Section, rule
from glassbox.config.types import SHARE_OR_GPUS, Gpus, Positive, Precision

Address = Annotated[str, Field(pattern=r"^(auto|(ray://)?[A-Za-z0-9._-]+:[0-9]{1,5})$")]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$", description="auto, cpu, cuda or cuda:N")]


class Compute(Section):
    engine: Literal["local", "ray"]
    address: Annotated[Address | None, Field(description="auto, HOST:PORT or ray://HOST:PORT")]
    workers: Positive
    cpus: Annotated[int, Field(ge=1, le=1024)] | None
    gpus: Annotated[Gpus, Field(description=SHARE_OR_GPUS)]
    device: Device
    precision: Precision
    tf32: bool
    deterministic: bool
    compile: bool | Literal["cuda_graphs"]
    batch_size: Positive
    threads: Annotated[int, Field(ge=1, le=1024)] | None

    @rule
    def _the_device_is_what_ray_lends(self) -> None:
        fits = "cuda" if self.gpus else "cpu"
        if self.engine == "ray" and self.device.partition(":")[0] not in ("auto", fits):
            raise ValueError(
                f"compute.device is {self.device}: with compute.engine = ray and compute.gpus = {self.gpus:g} it must "
                f"be auto or {fits}"
            )
