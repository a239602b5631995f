"""How a trained model becomes one ONNX file, and how that file runs. `Classifier` needs no Keras."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from export.card import write_card
    from export.convert import to_onnx
    from export.corpus import Corpus, extract_corpus, predict_corpus
    from export.features import Features, extract_features
    from export.metadata import Metadata
    from export.parity import ParityError
    from export.prediction import Prediction
    from export.runtime import Classifier
    from export.scoring import score
    from export.segments import Segment
    from export.serve_options import ServeOptions
    from export.serving import serve
    from export.stream import Stream, StreamState
    from export.timeline import Timeline, predict_timeline
    from export.triton import TritonOptions, write_triton_model
    from export.watching import Watched, watch
    from export.web import write_web_page

__all__ = [
    "Classifier",
    "Corpus",
    "Features",
    "Metadata",
    "ParityError",
    "Prediction",
    "Segment",
    "ServeOptions",
    "Stream",
    "StreamState",
    "Timeline",
    "TritonOptions",
    "Watched",
    "extract_corpus",
    "extract_features",
    "predict_corpus",
    "predict_timeline",
    "score",
    "serve",
    "to_onnx",
    "watch",
    "write_card",
    "write_triton_model",
    "write_web_page",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Classifier": "runtime",
        "Corpus": "corpus",
        "Features": "features",
        "Metadata": "metadata",
        "ParityError": "parity",
        "Prediction": "prediction",
        "Segment": "segments",
        "ServeOptions": "serve_options",
        "Stream": "stream",
        "StreamState": "stream",
        "Timeline": "timeline",
        "TritonOptions": "triton",
        "Watched": "watching",
        "extract_corpus": "corpus",
        "extract_features": "features",
        "predict_corpus": "corpus",
        "predict_timeline": "timeline",
        "score": "scoring",
        "serve": "serving",
        "to_onnx": "convert",
        "watch": "watching",
        "write_card": "card",
        "write_triton_model": "triton",
        "write_web_page": "web",
    },
)
