"""What a model is, how it learns, how good it is. Importing it loads no Keras until something of Keras is asked for."""

from typing import TYPE_CHECKING

from loaders.lazy import lazily

if TYPE_CHECKING:
    from zoo.backend import choose_backend
    from zoo.contract import labels, new_head, specs, task, with_logits
    from zoo.cost import multiply_adds
    from zoo.registry import Card, card, create_model, list_models, load_model, register

__all__ = [
    "Card",
    "card",
    "choose_backend",
    "create_model",
    "labels",
    "list_models",
    "load_model",
    "multiply_adds",
    "new_head",
    "register",
    "specs",
    "task",
    "with_logits",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Card": "registry",
        "card": "registry",
        "choose_backend": "backend",
        "create_model": "registry",
        "labels": "contract",
        "task": "contract",
        "list_models": "registry",
        "load_model": "registry",
        "multiply_adds": "cost",
        "new_head": "contract",
        "register": "registry",
        "specs": "contract",
        "with_logits": "contract",
    },
)
