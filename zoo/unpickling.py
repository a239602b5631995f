"""A pickle without what it could run: names it may use are given, and stand-ins are what it gets for them."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from loaders.errors import ClipzooError

Names = Mapping[tuple[str, str], Any]


class AllowedGlobal:
    """What a name in a pickle stands for: it can be called, and not be changed."""

    __slots__ = ("call", "what")

    def __init__(self, call: Callable[..., Any], what: str = "") -> None:
        self.call, self.what = call, what

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise ValueError("it changes what it names")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, origin: str, names: Names, outside: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data))
        self.origin, self.names, self.outside = origin, names, outside

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise ClipzooError(
                f"{self.origin}: names {f'{module}.{name}'!r}, which arrays in it do not need, and was not read; take "
                "the file from its authors anew"
            )
        return self.names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self.outside is None:
            raise ValueError("it refers to something outside itself")
        return self.outside(pid)


class Unpickled(NamedTuple):
    """An object, and where its pickle ends in the file."""

    held: Any
    end: int


def unpickle(
    data: bytes, start: int, origin: str, names: Names, *, outside: Callable[[Any], Any] | None = None
) -> Unpickled:
    """Reads one pickle.

    Args:
        data: of the file.
        start: where the pickle begins in it.
        origin: what the file is called, for messages.
        names: (module, name) -> what stands in for it; there is nothing else that the pickle can name.
        outside: what stands in for a reference to something beside the pickle (a persistent id).

    Returns:
        The object, and where the pickle ends in the file.

    Raises:
        ClipzooError: damaged, or it names something else.
    """
    try:
        stream = io.BytesIO(data)
        stream.seek(start)
        for number, (operation, value, _) in enumerate(pickletools.genops(stream)):
            # Python allocates as many places as the largest number says, and as many bytes as a length says: genops has
            # just seen that the bytes are there, and no pickler counts its places faster than its operations.
            if "PUT" in operation.name and int(value or 0) > number:
                raise ValueError(f"place {value} at operation {number}")
        unpickler = _Unpickler(data[start : stream.tell()], origin, names, outside)
        return Unpickled(unpickler.load(), stream.tell())
    except ClipzooError:
        raise
    except Exception as error:  # a pickle can raise anything
        raise damaged(origin, "pickle", error) from None


def damaged(origin: str, kind: str, error: Exception) -> ClipzooError:
    """What is said of bytes that cannot be read as a file of this kind."""
    why = " ".join(str(error).split()) or type(error).__name__
    return ClipzooError(f"{origin}: is damaged, or no {kind} file of arrays ({why}); take it from its authors anew")
