"""Triton as far as the tests need it: its own schema of `config.pbtxt`, and a server that answers like it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format

from export import Classifier
from tests.support.commands import ROOT

# The descriptor of model_config.proto as tritonclient 2.73.0 has it (`model_config_pb2.DESCRIPTOR.serialized_pb`); its
# license lies beside it. The package itself wants protobuf below 7 and ml-dtypes below 0.6; `tests/extras.sh` has it.
_FILE = ROOT / "tests" / "fixtures" / "triton_model_config.pb"


def parse(file: Path) -> Any:
    """The `ModelConfig` message of a `config.pbtxt`; raises where a field or a value is none of Triton's."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(_FILE.read_bytes()))
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return text_format.Parse(file.read_text(encoding="utf-8"), kind())


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of one version of a model in a repository, by the v2 protocol with binary tensors.

    Yields:
        Its address; and what was asked of it: the head of each request, and under `arrays` the tensors of its bytes.
    """
    config, classifier, asked = parse(model.parents[1] / "config.pbtxt"), Classifier(model), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == f"/v2/models/{config.name}/config"
            self._reply(json_format.MessageToJson(config, preserving_proto_field_name=True).encode(), b"")

        def do_POST(self) -> None:
            assert self.path == f"/v2/models/{config.name}/infer"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            length = int(self.headers["Inference-Header-Content-Length"])
            head, rest = json.loads(body[:length]), body[length:]
            head["arrays"] = {}
            for each in head["inputs"]:
                size = each["parameters"]["binary_data_size"]
                flat, rest = np.frombuffer(rest[:size], np.dtype(each["datatype"].lower())), rest[size:]
                head["arrays"][each["name"]] = flat.reshape(each["shape"])
            assert rest == b""
            asked.append(head)
            scores = classifier.scores(head["arrays"])
            rows = {each["name"]: scores[each["name"]] for each in head["outputs"]}
            said = [
                {"name": name, "datatype": "FP32", "shape": row.shape, "parameters": {"binary_data_size": row.nbytes}}
                for name, row in rows.items()
            ]
            answer = json.dumps({"model_name": config.name, "outputs": said}).encode()
            self._reply(answer, b"".join(row.tobytes() for row in rows.values()))

        def _reply(self, head: bytes, tensors: bytes) -> None:
            self.send_response(200)
            if tensors:
                self.send_header("Inference-Header-Content-Length", str(len(head)))
            self.send_header("Content-Length", str(len(head + tensors)))
            self.end_headers()
            self.wfile.write(head + tensors)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
