"""Image networks, one a file: (B, height, width, channels) -> (B, features)."""

from zoo.backbones.backbone import Backbone
from zoo.backbones.bn_inception import BN_INCEPTION
from zoo.backbones.convnet import CONVNET
from zoo.backbones.mobilenet import MOBILENET, MOBILENETV2
from zoo.backbones.vgg import VGG16

BACKBONES: dict[str, Backbone] = {
    "bn_inception": BN_INCEPTION,
    "convnet": CONVNET,
    "mobilenet": MOBILENET,
    "mobilenetv2": MOBILENETV2,
    "vgg16": VGG16,
}

__all__ = ["BACKBONES", "Backbone"]
