"""ONNX Runtime, and a session of it on the provider that was asked for, or an error that says why not."""

from __future__ import annotations

import ctypes
import json
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from loaders.errors import ClipzooError
from loaders.processor import cores, has

Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "openvino-bfloat16"]
PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "openvino-bfloat16": "OpenVINOExecutionProvider",
}
# OpenVINO left alone computes in bfloat16 where the processor has units for it.
_OPENVINO = {"openvino": "f32", "openvino-bfloat16": "bf16"}
FEW_CORES = 4
ON_CPU = (PROVIDERS["cpu"], PROVIDERS["openvino"])
# They all write the one folder `onnxruntime`.
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
_EXTRAS = {"CUDAExecutionProvider": "runtime-gpu", "TensorrtExecutionProvider": "runtime-gpu"}


def onnxruntime() -> Any:
    """The module, with a clear message where it is missing or installed twice."""
    try:
        import onnxruntime as module
    except ImportError:
        raise ClipzooError(
            'ONNX Runtime is not installed: pip install "clipzoo[runtime]", or "clipzoo[runtime-gpu]" for NVIDIA GPUs'
        ) from None
    twice = _installed_twice()
    if twice:
        warnings.warn(twice, stacklevel=2)
    return module


def _installed_twice() -> str:
    """What to do where several packages share one folder; in two folders the path decides, and nobody overwrites any.

    Returns:
        An empty string where all is well.
    """
    found: dict[Any, list[str]] = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.setdefault(distribution(name).locate_file("onnxruntime"), []).append(name)
    twice = next((names for names in found.values() if len(names) > 1), [])
    if not twice:
        return ""
    return (
        f"{' and '.join(twice)} are installed together and write into one folder, so that one wins silently "
        "(onnxruntime#26996); uninstall them all, then install the one that you want"
    )


def require_provider(provider: str) -> str:
    """The name that ONNX Runtime has for a provider.

    Raises:
        ClipzooError: there is no such provider, or it is not in the ONNX Runtime that is installed.
    """
    if provider not in PROVIDERS:
        raise ClipzooError(f"provider ({provider!r}) must be one of {', '.join(PROVIDERS)}")
    runtime = onnxruntime()
    if PROVIDERS[provider] not in runtime.get_available_providers():
        extra = _EXTRAS.get(PROVIDERS[provider], "runtime-openvino")
        why = _installed_twice() or f'pip install "clipzoo[{extra}]" in an environment of its own'
        raise ClipzooError(f"provider {provider!r} is not in this ONNX Runtime {runtime.__version__}: {why}")
    return PROVIDERS[provider]


def installed() -> list[Provider]:
    """The providers of the ONNX Runtime that is installed, which may still lack a driver; `cpu` is the first."""
    there = onnxruntime().get_available_providers()
    found = [name for name in get_args(Provider) if PROVIDERS[name] in there]
    return [name for name in found if _OPENVINO.get(name) != "bf16" or _has_bfloat16()]


def _has_bfloat16() -> bool:
    return has("amx_bf16", "avx512_bf16")


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
        provider: one of `PROVIDERS`. `openvino` computes in float32 on the CPU, `openvino-bfloat16` in bfloat16.
        threads: on the CPU.
        provider_options: of the provider.
        profile: a prefix; `session.end_profiling()` then names the file with what every node took.

    Raises:
        ClipzooError: no such file, not an ONNX file, options for the CPU, or a provider that is not in use.
    """
    runtime, wanted = onnxruntime(), require_provider(provider)
    if not path.is_file():
        raise ClipzooError(f"{path}: {'is a folder, not an ONNX file' if path.is_dir() else 'no such file'}")
    if wanted not in ON_CPU:
        preload_cuda()
    runtime.set_default_logger_severity(4)  # what it says is said again, in our error
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if cores() <= FEW_CORES:
        # Threads that wait for work spin, and take these cores from those that decode the next clips.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        if threads < 1:
            raise ClipzooError(f"threads ({threads}) must be >= 1")
        options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    given = dict(provider_options or {})
    if given and provider == "cpu":  # ONNX Runtime takes any there, and heeds none
        raise ClipzooError(f"provider 'cpu' has no options, and {', '.join(given)} is given; leave it out")
    if provider in _OPENVINO:
        if _OPENVINO[provider] == "bf16" and not _has_bfloat16():  # OpenVINO would say nothing
            raise ClipzooError(f"provider {provider!r}: this processor has no units for bfloat16; say 'openvino'")
        settings = {"INFERENCE_PRECISION_HINT": _OPENVINO[provider]}
        settings |= {"INFERENCE_NUM_THREADS": str(threads)} if threads is not None else {}
        given = {"device_type": "CPU", "load_config": json.dumps({"CPU": settings}), **given}
    # What TensorRT cannot compute, CUDA does.
    chain = [wanted, *([PROVIDERS["cuda"]] if provider == "tensorrt" else [])]
    providers = [(name, given if name == wanted else {}) for name in chain]
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # the exceptions of ONNX Runtime share no base class but this
        reason = said_by(error)
        missing = missing_library(provider)
        reason = f"{missing}; ONNX Runtime says: {reason}" if missing else reason
        raise ClipzooError(f"{path}: cannot be loaded by ONNX Runtime ({reason})") from None
    if session.get_providers()[0] != wanted:
        extra = _EXTRAS.get(wanted, "runtime-openvino")
        what, fits = ("CUDA or cuDNN", "driver fits") if wanted in _EXTRAS else ("OpenVINO", "options are OpenVINO's")
        missing = missing_library(provider) or f"{what} cannot be loaded"
        raise ClipzooError(
            f"provider {provider!r} was asked for, but {session.get_providers()[0]} is in use: {missing}; see that the "
            f'{fits}, and install "clipzoo[{extra}]"'
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
    library = folder / f"libonnxruntime_providers_{provider.partition('-')[0]}.so"
    if not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""
