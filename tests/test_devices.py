"""Several devices learn what one does, to rounding; several hosts too, and one that is gone is said."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from loaders import ClipIndex
from loaders.errors import ClipzooError
from tests.support.commands import ROOT, clipzoo, invoke, refused, wait_for
from zoo.hosts import Hosts
from zoo.run import Run

FIGURES = ("loss", "accuracy", "class_accuracy", "val_loss", "val_accuracy", "val_class_accuracy", "learning_rate")
SMALL = (
    "--model", "convnet_gru", "--epochs", 3, "--set", "recipe.batch=4", "--set", "frames=4", "--set", "size=16",
    "--set", "width=0.125", "--set", "dropout=0", "--set", "recipe.seed=3",
    # Batch normalization that trains on a few values makes much of a rounding error.
    "--set", "recipe.train_from=head", "--set", "recipe.draws=0",
)  # fmt: skip


def spread(clips: Path, out: Path, *wanted: str, **environment: str) -> list[Run]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.spread", str(clips), str(out), *wanted],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Run(out / each) for each in wanted]


def figures(run: Run) -> np.ndarray:
    return np.array([[row[name] for name in FIGURES] for row in run.read_history()])


def same(run: Run, other: Run) -> None:
    np.testing.assert_allclose(figures(run), figures(other), rtol=1e-4)


@pytest.mark.keras
@pytest.mark.slow
def test_two_devices_learn_what_one_does(motion: ClipIndex, tmp_path: Path) -> None:
    """Neither the batches of 7 divide by two nor the last of them, and classes have weights."""
    one, two = spread(motion.root, tmp_path, "1", "2")
    same(one, two)
    assert two.read_record()["devices"] == 2 and "devices" not in one.read_record()
    from zoo import load_model

    for mine, other in zip(load_model(two.last).get_weights(), load_model(one.last).get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.keras
@pytest.mark.slow
def test_it_goes_on_on_another_number_of_devices(motion: ClipIndex, tmp_path: Path) -> None:
    one, stopped = spread(motion.root, tmp_path, "1", "stop:2:3")
    same(one, stopped)
    assert [each["devices"] for each in stopped.read_record()["resumed"]] == [3]


@pytest.mark.keras
@pytest.mark.slow
def test_features_of_a_frozen_part_train_on_several_devices(motion: ClipIndex, tmp_path: Path) -> None:
    same(*spread(motion.root, tmp_path, "1", "4", DRAWS="2"))


@pytest.mark.keras
def test_more_devices_than_there_are_are_refused(motion: ClipIndex, tmp_path: Path) -> None:
    import zoo

    with pytest.raises(ClipzooError, match=r"devices is 99, and there (is|are) \d+: .*cpu:0"):
        zoo.train(motion, "convnet_gru", out=tmp_path / "run", devices=99)
    with pytest.raises(ClipzooError, match=r"devices \(0\)"):
        zoo.train(motion, "convnet_gru", out=tmp_path / "run", devices=0)
    assert not (tmp_path / "run").exists()
    refused(invoke("train", motion.root, "--model", "convnet_gru", "--devices", "some"), "'some'", "or all")


@pytest.mark.keras
def test_weights_make_the_loss_the_mean_over_the_clips_that_count() -> None:
    from zoo.devices import BatchPadder, DeviceLayout

    class Shared:
        batch_size, index = 4, range(10)

    clips, labels = np.arange(2)[:, None], np.eye(2, dtype=np.float32)
    filled, answers, weights = BatchPadder(DeviceLayout(devices=3), None, {0: 1.0, 1: 2.0})((clips, labels), 0)
    assert filled.tolist() == [[0], [1], [0]] and answers.shape == (3, 2)
    np.testing.assert_allclose(weights, [1.5, 3, 0])
    # The second batch of two hosts holds 2 of 10 clips: one each.
    for host, wanted in ((0, [2.0, 0.0]), (1, [2.0, 0.0])):
        _, _, weights = BatchPadder(DeviceLayout(devices=2, host=host, hosts=2), Shared)((clips[:1], labels[:1]), 1)
        np.testing.assert_allclose(weights, wanted)
    # Of 9 clips one is left for the last batch, and the second host reads one that was read before.
    Shared.index = range(9)
    for host, wanted in ((0, [4.0, 0.0]), (1, [0.0, 0.0])):
        _, _, weights = BatchPadder(DeviceLayout(devices=2, host=host, hosts=2), Shared)((clips[:1], labels[:1]), 1)
        np.testing.assert_allclose(weights, wanted)
    assert DeviceLayout(devices=4).waste(6) and DeviceLayout(devices=3).waste(6) is None
    with pytest.raises(ClipzooError, match=r"give --set recipe\.batch=8"):
        DeviceLayout(devices=1, hosts=4).share(6)


def test_hosts_are_an_address_a_count_and_a_number() -> None:
    assert Hosts.parse("node0:29500,4,3") == Hosts("node0:29500", 4, 3)
    for wrong in ("node0:29500", "node0,2,1", "node0:29500,2,2", "node0:29500,2,-1", "node0:29500,0,0", ""):
        with pytest.raises(ClipzooError, match="--hosts"):
            Hosts.parse(wrong)


@pytest.mark.either
def test_tensorflow_over_hosts_is_refused(motion: ClipIndex) -> None:
    done = clipzoo("train", motion.root, "--hosts", "localhost:1,2,0", KERAS_BACKEND="tensorflow")
    refused(done, "several hosts need JAX", "keras#20585")


class Cluster:
    """Two hosts on loopback, each the command in a process of its own."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.hosts = [
            subprocess.Popen(
                [sys.executable, "-m", "clipzoo", "train", *map(str, arguments),
                 "--hosts", f"127.0.0.1:{port},2,{host}"],
                cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "jax", "COLUMNS": "160", **environment},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for host in (0, 1)
        ]  # fmt: skip

    def end(self) -> list[subprocess.CompletedProcess[str]]:
        found = []
        for host in self.hosts:
            stdout, stderr = host.communicate()
            found.append(subprocess.CompletedProcess(host.args, host.returncode, stdout, stderr))
        return found


needs_jax = pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "jax", reason="several hosts are of JAX alone")


@pytest.mark.keras
@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("killed", [0, 1])
def test_a_host_that_is_killed_ends_the_other_with_a_sentence_and_both_go_on(
    motion: ClipIndex, tmp_path: Path, killed: int
) -> None:
    out, alone = tmp_path / "run", tmp_path / "alone"
    cluster = Cluster(motion.root, *SMALL, "--out", out, "--checkpoint-minutes", 0)
    wait_for(lambda: Run(out).checkpoint.exists() or cluster.hosts[0].poll() is not None)
    (training,) = psutil.Process(cluster.hosts[killed].pid).children()
    training.send_signal(signal.SIGKILL)
    done = cluster.end()
    refused(done[1 - killed], "another of the 2 hosts is gone", "--resume")
    assert done[killed].returncode == 2 and "signal 9" in done[killed].stderr

    first, second = Cluster("--resume", out).end()
    assert first.returncode == second.returncode == 0, (first.stderr, second.stderr)
    assert "goes on at" in first.stdout and "host 0 of 2" in first.stdout and second.stdout == ""
    assert Run(out).read_record()["hosts"] == 2

    done_alone = clipzoo("train", motion.root, *SMALL, "--out", alone, KERAS_BACKEND="jax")
    assert done_alone.returncode == 0, done_alone.stderr
    same(Run(out), Run(alone))


@pytest.mark.keras
@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("there", [0, 1])
def test_a_host_that_never_comes_is_said(motion: ClipIndex, tmp_path: Path, there: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = f"127.0.0.1:{port},2,{there}"
    done = clipzoo(
        "train", motion.root, *SMALL, "--out", tmp_path / "run", "--hosts", hosts, CLIPZOO_HOSTS_WAIT="5"
    )  # fmt: skip
    refused(done, "not all of 2 hosts came within 5 seconds", "CLIPZOO_HOSTS_WAIT")
    assert not (tmp_path / "run").exists()


PAGE = (ROOT / "zoo" / "CLUSTER.md").read_text(encoding="utf-8")


def block(language: str, begins: str) -> str:
    (found,) = [each for each in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if each.startswith(begins)]
    return found


def test_the_slurm_script_is_a_script_whose_options_sbatch_has(tmp_path: Path) -> None:
    from simple_slurm import Slurm

    script = block("bash", "#!/bin/bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    options = dict(line.partition("=")[::2] for line in lines)
    job = Slurm(**{name.replace("-", "_"): value or True for name, value in options.items()})
    assert (job.namespace.nodes, job.namespace.ntasks_per_node) == ("2", "1")
    with pytest.raises(SystemExit):
        Slurm(nodez=2)


def test_the_kubernetes_job_is_one_by_the_schema() -> None:
    import kubernetes_validate

    text = block("yaml", "apiVersion")
    service, job = yaml.safe_load_all(text)
    for each in (service, job):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    assert job["spec"]["completionMode"] == "Indexed"
    # The name of pod 0: of job and service.
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert f"{job['metadata']['name']}-0.{service['metadata']['name']}:29500,{job['spec']['completions']}," in text
    job["spec"]["completionMod"] = "Indexed"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


def test_every_command_of_the_page_has_options_that_there_are() -> None:
    for command in re.findall(r"^clipzoo (train .*?)(?: {2,}#.*)?$", PAGE, re.MULTILINE):
        named = re.findall(r"--[\w-]+", command)
        page = invoke("train", "--help").stdout
        assert named and all(option in page for option in named)
