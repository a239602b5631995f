"""What a data-parallel step would cost over hosts: `python -m benchmarks.cluster --hosts N --bandwidth GBIT`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import typer

from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.records import Row
from benchmarks.harness.render import Cells, table
from benchmarks.harness.script import run_script
from benchmarks.harness.trainers import TrainingRunner, TrainingVariant
from loaders.errors import ClipzooError
from loaders.terminal import text_console
from zoo.registry import model_info

LATENCY = 50e-6  # of one message between two hosts of one rack, seconds


@dataclass(frozen=True, kw_only=True)
class ScalingEstimate:
    """One step of `hosts` hosts that share a batch each.

    The gradients are summed by a ring: each host sends and receives 2 (N - 1) / N of their bytes in 2 (N - 1) messages
    (Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009).

    Attributes:
        hosts: how many.
        step: seconds of the step on one host.
        gradient_bytes: of all weights that train.
        bandwidth: of each host's link, each way, Gbit/s.
    """

    hosts: int
    step: float
    gradient_bytes: int
    bandwidth: float

    @property
    def exchange(self) -> float:
        """Seconds that the sum takes."""
        others = self.hosts - 1
        return 2 * others / self.hosts * self.gradient_bytes * 8 / (self.bandwidth * 1e9) + 2 * others * LATENCY

    @property
    def efficiency(self) -> tuple[float, float]:
        """Share of `hosts` times one host's speed that is reached: where the sum waits for the last gradient, and where
        all of it hides behind the backward pass, which takes two thirds of a step."""
        apart = self.step + self.exchange
        hidden = self.step + max(0.0, self.exchange - 2 / 3 * self.step)
        return self.step / apart, self.step / hidden


class DevicesRunner(TrainingRunner):
    """Training steps over virtual devices, by Keras's DataParallel on JAX; `benchmarks.training` measures one."""

    def __init__(self, *, devices: int, **options: Any) -> None:
        import jax
        import keras

        found = jax.devices()
        if len(found) < devices:
            raise ClipzooError(f"JAX has {len(found)} devices, not {devices}")
        used = keras.distribution.list_devices()[:devices]
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=used))
        super().__init__(**options)
        weights = self.model.trainable_weights
        self.facts["gradient_bytes"] = int(sum(4 * w.value.size for w in weights))


def cluster(
    *,
    hosts: Annotated[int, typer.Option(min=2, help="The most to plan for.")] = 8,
    bandwidth: Annotated[float, typer.Option(help="Of each host's link, Gbit/s, > 0.")] = 10.0,
    model: Annotated[str, typer.Option(help="Name in the zoo.")] = "convnet_gru",
    batch: Annotated[int, typer.Option(min=4, help="Clips in one host's step; a multiple of 4.")] = 4,
    quick: Annotated[bool, typer.Option(help="A small model, a second each: a look, not a result.")] = False,
) -> None:
    """Measure a step and its gradients, plan it over hosts, and run it on 1, 2 and 4 virtual devices."""
    console = text_console()
    model_info(model)
    if not 0 < bandwidth < inf:
        raise ClipzooError(f"--bandwidth ({bandwidth}) must be > 0, but finite")
    if batch % 4:
        raise ClipzooError(f"--batch ({batch}) must be a multiple of 4: the step is run on 4 virtual devices too")
    options = {"frames": 5, "size": 32} if quick else {}
    limits = Limits(rounds=3, seconds=0.5, most=1.0) if quick else Limits(rounds=6, seconds=3.0, most=6.0)
    rows: list[Row] = []
    measure(_contestants(model, batch, options), [batch], limits=limits, done=rows.append)
    lines: list[Cells] = [("virtual devices", "ms a step", "clips/s")]
    for row in rows:
        cells = (
            (f"{1e3 * row.round_seconds.value:.0f}", f"{row.clips_per_second:.2f}")
            if row.measured
            else (row.status, row.note)
        )
        lines.append((row.settings["devices"], *cells))
    console.print(table(lines, title=f"{model}, batch {batch}, measured on this machine"))
    console.print("virtual devices share the machine's cores: they show what sharing a step costs, not what it gains")
    first = next(row for row in rows if row.settings["devices"] == "1")
    if not first.measured:
        raise ClipzooError(f"{model}: its step could not be measured ({first.note})")
    lines = [("hosts", "exchange ms", "step ms, at worst", "clips/s, at worst", "efficiency, worst to best")]
    for count in sorted({1, hosts, *(2**power for power in range(hosts.bit_length()))}):
        plan = ScalingEstimate(
            hosts=count,
            step=first.round_seconds.value,
            gradient_bytes=first.facts["gradient_bytes"],
            bandwidth=bandwidth,
        )
        worst, best = plan.efficiency
        step = plan.step + plan.exchange
        lines.append((
            str(count), f"{1e3 * plan.exchange:.1f}", f"{1e3 * step:.1f}", f"{count * batch / step:.2f}",
            f"{worst:.1%} to {best:.1%}",
        ))  # fmt: skip
    title = f"planned: {first.facts['gradient_bytes'] / 2**20:.1f} MiB of gradients over {bandwidth:g} Gbit/s"
    console.print(table(lines, title=title))


def _contestants(model: str, batch: int, options: dict[str, Any]) -> list[Contestant]:
    found = []
    for devices in (1, 2, 4):
        arguments = {
            "devices": devices, "model": model, "options": options, "way": TrainingVariant(), "videos": None,
            "workers": 1,
        }  # fmt: skip
        environment = {
            "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }  # fmt: skip
        row = Row(model=model, runner="Keras JAX", settings={"devices": str(devices)}, batch=batch)
        found.append(Contestant(row=row, make=DevicesRunner, arguments=arguments, environment=environment))
    return found


if __name__ == "__main__":
    run_script(cluster)
