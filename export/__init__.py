"""How a trained model becomes one ONNX file, and how that file runs. `Classifier` needs no Keras."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from export.convert import to_onnx
    from export.metadata import Metadata
    from export.parity import ParityError
    from export.prediction import Prediction
    from export.runtime import Classifier
    from export.scoring import score

__all__ = ["Classifier", "Metadata", "ParityError", "Prediction", "score", "to_onnx"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Classifier": "runtime",
        "Metadata": "metadata",
        "ParityError": "parity",
        "Prediction": "prediction",
        "score": "scoring",
        "to_onnx": "convert",
    },
)
