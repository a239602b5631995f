"""ONNX Runtime, and a session of it on the provider that was asked for, or an error that says why not."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from loaders.errors import ClipzooError

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def onnxruntime() -> Any:
    """The module, with a clear message where it is missing or installed twice."""
    try:
        import onnxruntime as module
    except ImportError:
        raise ClipzooError(
            'ONNX Runtime is not installed: pip install "clipzoo[runtime]", or "clipzoo[runtime-gpu]" for NVIDIA GPUs'
        ) from None
    if _installed_twice():
        warnings.warn(_TWICE, stacklevel=2)
    return module


_TWICE = (
    "onnxruntime and onnxruntime-gpu are both installed and write into one folder, so the CPU one wins silently "
    "(onnxruntime#26996); uninstall both, then install the one that you want"
)


def _installed_twice() -> bool:
    """Both packages, in one folder; in two, the path decides, and nobody overwrites anybody."""
    try:
        folders = {distribution(name).locate_file("onnxruntime") for name in ("onnxruntime", "onnxruntime-gpu")}
    except PackageNotFoundError:
        return False
    return len(folders) == 1


def require_provider(provider: str) -> str:
    """The name that ONNX Runtime has for a provider.

    Raises:
        ClipzooError: there is no such provider, or it is not in the ONNX Runtime that is installed.
    """
    if provider not in PROVIDERS:
        raise ClipzooError(f"provider ({provider!r}) must be one of {', '.join(PROVIDERS)}")
    runtime = onnxruntime()
    if PROVIDERS[provider] not in runtime.get_available_providers():
        why = _TWICE if _installed_twice() else 'pip install "clipzoo[runtime-gpu]" in an environment of its own'
        raise ClipzooError(f"provider {provider!r} is not in this ONNX Runtime {runtime.__version__}: {why}")
    return PROVIDERS[provider]


def open_session(
    path: Path,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> Any:
    """A session of ONNX Runtime on any file, with the provider in use that was asked for.

    Args:
        path: the file.
        provider: `cpu`, `cuda` or `tensorrt`.
        threads: on the CPU.
        provider_options: of the provider.
        profile: a prefix; `session.end_profiling()` then names the file with what every node took.

    Raises:
        ClipzooError: no such file, not an ONNX file, or a provider that is not in use.
    """
    runtime, wanted = onnxruntime(), require_provider(provider)
    if not path.is_file():
        raise ClipzooError(f"{path}: {'is a folder, not an ONNX file' if path.is_dir() else 'no such file'}")
    if provider != "cpu":
        preload_cuda()
    runtime.set_default_logger_severity(4)  # what it says is said again, in our error
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        if threads < 1:
            raise ClipzooError(f"threads ({threads}) must be >= 1")
        options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    # What TensorRT cannot compute, CUDA does.
    chain = [wanted, *([PROVIDERS["cuda"]] if provider == "tensorrt" else [])]
    providers = [(name, dict(provider_options or {}) if name == wanted else {}) for name in chain]
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # the exceptions of ONNX Runtime share no base class but this
        reason = said_by(error)
        missing = missing_library(provider)
        reason = f"{missing}; ONNX Runtime says: {reason}" if missing else reason
        raise ClipzooError(f"{path}: cannot be loaded by ONNX Runtime ({reason})") from None
    if session.get_providers()[0] != wanted:
        missing = missing_library(provider) or "CUDA or cuDNN cannot be loaded"
        raise ClipzooError(
            f"provider {provider!r} was asked for, but {session.get_providers()[0]} is in use: {missing}; see that the "
            'driver fits, and install "clipzoo[runtime-gpu]"'
        )
    return session


def said_by(error: Exception) -> str:
    """What ONNX Runtime says, in one line."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def preload_cuda() -> None:
    """Loads the libraries of CUDA, cuDNN and TensorRT that Python packages brought, wherever on the path they lie.

    ONNX Runtime's own search looks beside itself alone; those of JAX or PyTorch may lie in another site folder.
    """
    runtime = onnxruntime()
    if hasattr(runtime, "preload_dlls"):
        with redirect_stdout(StringIO()):  # it prints what it does not find, which may lie in the folders below
            runtime.preload_dlls()
    for package in ("nvidia", "tensorrt_libs"):
        found = find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            for library in _in_order(Path(folder)):
                with suppress(OSError):
                    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _in_order(folder: Path) -> list[Path]:
    """CUDA's libraries under a folder `nvidia`, or TensorRT's in theirs, those that others need first."""
    names = ("libcudart", "libnvrtc", "libnvJitLink", "libcublasLt", "libcublas", "libcufft", "libcurand", "libcudnn")
    cuda = [path for name in names for path in sorted(folder.glob(f"*/lib/{name}.so.*"))]
    return cuda + [path for name in ("libnvinfer", "libnvonnxparser") for path in sorted(folder.glob(f"{name}.so.*"))]


def missing_library(provider: str) -> str:
    """What the loader says of the library that a provider lives in: the name of the first that it cannot find.

    Returns:
        An empty string where all can be loaded, or the provider has no library of its own.
    """
    folder = Path(onnxruntime().__file__).parent / "capi"
    library = folder / f"libonnxruntime_providers_{provider}.so"
    if not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""
