"""A model that follows a script: Anthropic's Messages API and OpenAI's Responses API on loopback, as far as it takes.

Each step says which tool the agent has to use next, from what the tools said so far. Which step is due stands in the
request itself: the agent sends the whole conversation each time.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Use = tuple[str, Mapping[str, Any]]
# The next use of a tool, after what the tools have said.
Step = Callable[[Sequence[str]], Use]
_END = "That is all."


@dataclass(slots=True)
class Model:
    """Follows `script`; `heard`: what reached the model from each tool, in order; `failed`: a step had no answer."""

    script: Sequence[Step]
    address: str = ""
    heard: list[str] = field(default_factory=list)
    failed: str = ""
    _uses: dict[int, Use] = field(default_factory=dict)

    def next(self, said: Sequence[str]) -> Use | None:
        """What to do after the tools `said` that; the end of the script is the end of the turn."""
        self.heard = list(said)
        number = len(said)
        if number >= len(self.script) or self.failed:
            return None
        try:
            # An agent may ask twice for the same turn, and a step may do something.
            if number not in self._uses:
                self._uses[number] = self.script[number](said)
        except (AssertionError, LookupError, ValueError) as error:
            # In this thread nobody sees it, and the agent would ask again and again.
            self.failed = f"step {number}: {error!r}"
            return None
        return self._uses[number]


@contextmanager
def scripted(*script: Step) -> Iterator[Model]:
    """The model at `address`, without /v1."""
    model = Model(script)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(model))
    model.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._say(200, "text/plain", b"")

        def do_GET(self) -> None:
            self._say(404, "application/json", b"{}")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = self.path.partition("?")[0]
            api = _APIS.get(path)
            if api is None:
                self._say(404, "application/json", b"{}")
                return
            # Beside the conversation agents ask small things, a title for instance, and offer no tools then.
            events = api(asked, model) if asked.get("tools") else api(asked, Model(()))
            text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
            self._say(200, "text/event-stream", text.encode())

        def _say(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    return Handler


def _messages(asked: Mapping[str, Any], model: Model) -> list[dict[str, Any]]:
    """Anthropic's Messages API, streamed."""
    blocks = [block for one in asked["messages"] if isinstance(one["content"], list) for block in one["content"]]
    said = [_text(block.get("content", "")) for block in blocks if block["type"] == "tool_result"]
    use = model.next(said)
    if use is None:
        block: dict[str, Any] = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": _END}
    else:
        block = {"type": "tool_use", "id": f"toolu_{len(said)}", "name": use[0], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(use[1])}
    message = {"id": f"msg_{len(said)}", "type": "message", "role": "assistant", "model": "scripted", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    start = {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
    stop = {"stop_reason": "end_turn" if use is None else "tool_use", "stop_sequence": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]


def _responses(asked: Mapping[str, Any], model: Model) -> list[dict[str, Any]]:
    """OpenAI's Responses API, streamed. A name with a dot is a tool within a group of tools."""
    said = [_text(item["output"]) for item in asked["input"] if item.get("type") == "function_call_output"]
    use = model.next(said)
    if use is None:
        content = [{"type": "output_text", "text": _END, "annotations": []}]
        item: dict[str, Any] = {"type": "message", "role": "assistant", "id": "msg_1", "content": content}
    else:
        group, _, name = use[0].rpartition(".")
        item = {"type": "function_call", "id": f"fc_{len(said)}", "call_id": f"call_{len(said)}", "name": name}
        item |= {"arguments": json.dumps(use[1]), **({"namespace": group} if group else {})}
    counts: dict[str, Any] = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 1)
    ended = {"id": f"resp_{len(said)}", "usage": counts}
    return [
        {"type": "response.created", "response": {"id": ended["id"]}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": ended},
    ]


_APIS = {"/v1/messages": _messages, "/v1/responses": _responses}


def _text(content: Any) -> str:
    """The text of a tool's result, however it is wrapped."""
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content)
