"""Classifies a video on a Triton server: python triton_client.py http://localhost:8000 MODEL video.mp4

The clip is read here, by the contract that the server has of `clipzoo triton`. The request is that of the v2 protocol
with its extension for binary tensors: a head in JSON, and the bytes of the tensors behind it.
"""

import json
import sys
from urllib.request import Request, urlopen

import numpy as np

from export import Metadata
from loaders import read_inputs


def classify(server: str, model: str, video: str) -> dict[str, float]:
    """Label -> probability, the most probable first; name -> value, for regression."""
    with urlopen(f"{server}/v2/models/{model}/config") as reply:
        held = json.load(reply)["parameters"]
    contract = Metadata.from_props({key: value["string_value"] for key, value in held.items()}, model)
    clips = {name: clip[None] for name, clip in read_inputs(video, contract.specs).items()}  # a batch of one
    inputs = [
        {"name": name, "datatype": "UINT8", "shape": clip.shape, "parameters": {"binary_data_size": clip.nbytes}}
        for name, clip in clips.items()
    ]
    outputs = [{"name": contract.kind.answer, "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    body = head + b"".join(clip.tobytes() for clip in clips.values())
    request = Request(f"{server}/v2/models/{model}/infer", body, {"Inference-Header-Content-Length": str(len(head))})
    with urlopen(request) as reply:
        answer = np.frombuffer(reply.read()[int(reply.headers["Inference-Header-Content-Length"]) :], "<f4")
    return {contract.labels[place]: float(answer[place]) for place in np.argsort(-answer)}


if __name__ == "__main__":
    for label, value in list(classify(*sys.argv[1:]).items())[:5]:
        print(f"{value:8.4f}  {label}")
