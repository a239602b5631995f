"""Image networks, one a file: (B, height, width, channels) -> (B, features)."""

from importlib import import_module
from pkgutil import iter_modules

from zoo.backbones.backbone import Backbone, backbone, list_backbones, register_backbone

for _module in iter_modules(__path__):  # a file of this folder registers its own
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Backbone", "backbone", "list_backbones", "register_backbone"]
