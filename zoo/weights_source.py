"""What is known of published weights. Data: no Keras."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Weights that others have published in a package.

    Attributes:
        network: whose layers they are for: a backbone, or a model that has none.
        name: what `backbone_weights` calls them.
        author: of the weights.
        license: of the weights.
        data: what they were trained on.
        pixels: what the network wants them to be; our models scale uint8 so themselves.
        accuracy: as published, and where.
        package: on the package index; `keras`: Keras downloads them itself, and what follows is left out.
        code_license: of the package.
        version: of the package.
        archive: its file, of `size` bytes, with the SHA-256 `sha256`.
        size: see there.
        sha256: see there.
        file: inside the archive, with the SHA-256 `file_sha256`.
        file_sha256: see there.
        read: `module:function` that gets arrays out of that file's bytes.
        arrange: `module:function` from those to `zoo.npz.Arrays`.
    """

    network: str
    name: str
    author: str
    license: str
    data: str
    pixels: str
    accuracy: str
    package: str
    code_license: str
    version: str = ""
    archive: str = ""
    size: int = 0
    sha256: str = ""
    file: str = ""
    file_sha256: str = ""
    read: str = ""
    arrange: str = ""

    def origin(self) -> dict[str, str]:
        """What a model, a run and a file say of where their weights began."""
        return {
            "weights": f"{self.network} {self.name}",
            "author": self.author,
            "license": self.license,
            "data": self.data,
            "package": f"{self.package} {self.version}".strip(),
        }
