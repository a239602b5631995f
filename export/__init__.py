"""How a trained model becomes one ONNX file, and how that file runs. `Classifier` needs no Keras."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from export.card import write_card
    from export.convert import to_onnx
    from export.features import Features, extract_features
    from export.metadata import Metadata
    from export.parity import ParityError
    from export.prediction import Prediction
    from export.runtime import Classifier
    from export.scoring import score
    from export.segments import Segment
    from export.serving import ServeOptions, serve
    from export.timeline import Timeline, predict_timeline
    from export.triton import TritonOptions, write_triton_model

__all__ = [
    "Classifier",
    "Features",
    "Metadata",
    "ParityError",
    "Prediction",
    "Segment",
    "ServeOptions",
    "Timeline",
    "TritonOptions",
    "extract_features",
    "predict_timeline",
    "score",
    "serve",
    "to_onnx",
    "write_card",
    "write_triton_model",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Classifier": "runtime",
        "Features": "features",
        "Metadata": "metadata",
        "ParityError": "parity",
        "Prediction": "prediction",
        "Segment": "segments",
        "ServeOptions": "serving",
        "Timeline": "timeline",
        "TritonOptions": "triton",
        "extract_features": "features",
        "predict_timeline": "timeline",
        "score": "scoring",
        "serve": "serving",
        "to_onnx": "convert",
        "write_card": "card",
        "write_triton_model": "triton",
    },
)
