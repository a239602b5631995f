"""ONNX Runtime Web: the files of it that a page needs, from a folder or from npm. None of it is in our package."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from importlib.resources import files
from pathlib import Path

from loaders.errors import ClipzooError

VERSION = "1.30.0"
# What npm's registry says of that version.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# WebGPU's build has kernels for GRU and LSTM there, which the plain one lacks (onnxruntime#27881); the other is for the
# processor, half as large and without the cost of code that can wait.
FILES = (
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)
LICENSE = "LICENSE"


def copy_runtime(source: Path, out: Path) -> None:
    """Copies the runtime, and its license, from an unpacked package `onnxruntime-web`, or from its folder `dist`.

    Raises:
        ClipzooError: no such folder, or files are not in it.
    """
    if not source.is_dir():
        raise ClipzooError(f"{source}: is no folder; give that of an unpacked onnxruntime-web (--runtime-web)")
    dist = source / "dist" if (source / "dist").is_dir() else source
    lacking = [name for name in FILES if not (dist / name).is_file()]
    if lacking:
        raise ClipzooError(f"{dist}: lacks {', '.join(lacking)}, which onnxruntime-web {VERSION} has")
    for name in FILES:
        shutil.copyfile(dist / name, out / name)
    own = next((folder / LICENSE for folder in (source, dist, dist.parent) if (folder / LICENSE).is_file()), None)
    # The package of 1.30 names its license without holding it.
    text = own.read_bytes() if own else files("export.web").joinpath("onnxruntime-web.LICENSE").read_bytes()
    (out / LICENSE).write_bytes(text)


def fetch_runtime(folder: Path) -> Path:
    """Gets the package from npm, and unpacks it.

    Args:
        folder: a working folder.

    Returns:
        The folder of the package.

    Raises:
        ClipzooError: there is no npm, it gets nothing, or what it gets is something else.
    """
    npm = shutil.which("npm")
    package = f"onnxruntime-web@{VERSION}"
    if npm is None:
        raise ClipzooError(
            f"npm, which gets {package}, is not installed; install Node.js, or give the folder of an unpacked "
            "onnxruntime-web (--runtime-web)"
        )
    done = subprocess.run(
        [npm, "pack", package, "--pack-destination", str(folder), "--loglevel=error"],
        capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        said = next((line for line in done.stderr.splitlines() if line.strip()), f"exit status {done.returncode}")
        raise ClipzooError(
            f"npm cannot get {package} ({said}); give the folder of an unpacked onnxruntime-web (--runtime-web)"
        )
    with archives[0].open("rb") as archive:
        digest = base64.b64encode(hashlib.file_digest(archive, "sha512").digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise ClipzooError(f"npm's {package} is not the one that clipzoo knows, by its SHA-512")
    with tarfile.open(archives[0]) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"
