"""What a model is, how it learns, how good it is. Importing it loads no Keras until something of Keras is asked for."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from zoo.backbones import Backbone, register_backbone
    from zoo.backend import choose_backend
    from zoo.contract import labels, new_head, origins, specs, task, with_logits
    from zoo.cost import multiply_adds
    from zoo.embedding import feature_layer, with_features
    from zoo.explanation import explain
    from zoo.learning import train
    from zoo.model_infos import ModelInfo
    from zoo.presets import list_presets
    from zoo.recipe import Recipe
    from zoo.recipes import plan
    from zoo.registry import create_model, list_models, model_info, register
    from zoo.resuming import resume
    from zoo.run import Run
    from zoo.saving import load_model, load_preset
    from zoo.training import fit

__all__ = [
    "Backbone",
    "ModelInfo",
    "Recipe",
    "Run",
    "choose_backend",
    "create_model",
    "explain",
    "feature_layer",
    "fit",
    "labels",
    "list_models",
    "list_presets",
    "load_model",
    "load_preset",
    "model_info",
    "multiply_adds",
    "new_head",
    "origins",
    "plan",
    "register",
    "register_backbone",
    "resume",
    "specs",
    "task",
    "train",
    "with_features",
    "with_logits",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Backbone": "backbones",
        "ModelInfo": "model_infos",
        "Recipe": "recipe",
        "Run": "run",
        "model_info": "registry",
        "choose_backend": "backend",
        "create_model": "registry",
        "explain": "explanation",
        "feature_layer": "embedding",
        "fit": "training",
        "labels": "contract",
        "list_models": "registry",
        "list_presets": "presets",
        "load_model": "saving",
        "load_preset": "saving",
        "multiply_adds": "cost",
        "new_head": "contract",
        "origins": "contract",
        "plan": "recipes",
        "register": "registry",
        "register_backbone": "backbones",
        "resume": "resuming",
        "specs": "contract",
        "task": "contract",
        "train": "learning",
        "with_features": "embedding",
        "with_logits": "contract",
    },
)
