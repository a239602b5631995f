"""How a trained model becomes one ONNX file, and how that file runs. `Classifier` needs no Keras."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from export.convert import to_onnx
    from export.features import Features, extract_features
    from export.metadata import Metadata
    from export.parity import ParityError
    from export.prediction import Prediction
    from export.runtime import Classifier
    from export.scoring import score

__all__ = [
    "Classifier",
    "Features",
    "Metadata",
    "ParityError",
    "Prediction",
    "extract_features",
    "score",
    "to_onnx",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Classifier": "runtime",
        "Features": "features",
        "Metadata": "metadata",
        "ParityError": "parity",
        "Prediction": "prediction",
        "extract_features": "features",
        "score": "scoring",
        "to_onnx": "convert",
    },
)
