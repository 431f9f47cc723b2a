"""A chat endpoint with OpenAI's protocol, over real HTTP on loopback, that misbehaves on request.

It counts tokens with CLIP's tokenizer, which is not the one that the package estimates with, and logs every request.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import random
import threading
import time
from functools import cache
from pathlib import Path

TEMPLATE_TOKENS = 7  # per prompt, its own


@cache
def _encode():
    # by its path: importing all of open_clip takes ten seconds
    path = Path(importlib.util.find_spec("open_clip").submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("clip_tokenizer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer().encode


def count(text: str) -> int:
    return len(_encode()(text))


class ChatServer:
    """Use in a ``with``; ``behave(title, nth)`` says what to do with the nth request (from 1) for a title.

    Behaviours: ``ok``, ``plain`` (no reasoning), ``around`` (text and a fence around the object), ``length``,
    ``no_json``, ``shape``, ``empty``, ``429:<seconds>``, ``500``, ``sleep:<seconds>``, ``drop``, ``401``, ``400``,
    ``404``, ``page``, ``nousage``, ``zerousage``, ``body:<text>`` (as it is, with status 200).

    Attributes:
        log: one dict per request, in order of arrival: ``title``, ``domain``, ``body``, ``path``, ``headers``, ``at``
            (seconds on the server's clock), ``prompt`` and ``answer`` (tokens billed, 0 for an error), ``sent``
            (seconds, or None).
    """

    def __init__(self, behave=lambda title, nth: "ok", delay=lambda title: 0.0) -> None:
        self.behave, self.delay, self.log, self._lock = behave, delay, [], threading.Lock()
        self.refuse = {}  # option of a request -> what the 400 for it says

    def __enter__(self) -> ChatServer:
        chat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                chat._answer(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that was killed

        count("warm up")
        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def billed(self, since: int = 0) -> tuple[int, int]:
        """Prompt and answer tokens of all answers."""
        with self._lock:
            prompt, answer = (sum(entry[name] for entry in self.log[since:]) for name in ("prompt", "answer"))
            return prompt, answer

    def titles(self, since: int = 0) -> list[str]:
        with self._lock:
            return [entry["title"] for entry in self.log[since:]]

    def _answer(self, handler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        item = _asked_about(body)
        entry, nth = self._record(handler, body, item)
        for option, complaint in self.refuse.items():
            if option in body:
                return self._send(handler, entry, 400, {"error": {"message": complaint}})
        what, _, number = self.behave(item["title"], nth).partition(":")
        time.sleep(self.delay(item["title"]))
        if what in ("400", "401", "404", "429", "500"):
            return self._send_error(handler, entry, int(what), number)
        if what == "sleep":
            time.sleep(float(number))
        if what == "body":
            return self._send(handler, entry, 200, number)
        if what == "page":
            return self._send(handler, entry, 200, "<html>welcome</html>")
        reply = self._reply(entry, body, item, what)
        if what == "drop":
            return _send_half(handler, reply)
        self._send(handler, entry, 200, reply)

    def _record(self, handler, body: dict, item: dict) -> tuple[dict, int]:
        """The log's new entry, and which request for this title it is."""
        with self._lock:
            nth = 1 + sum(entry["title"] == item["title"] for entry in self.log)
            entry = {
                "title": item["title"],
                "domain": item["domain"],
                "body": body,
                "path": handler.path,
                "headers": handler.headers,
                "at": time.monotonic(),
                "sent": None,
                "prompt": 0,
                "answer": 0,
            }
            self.log.append(entry)
        return entry, nth

    def _send_error(self, handler, entry: dict, status: int, wait: str) -> None:
        if status == 429:
            return self._send(handler, entry, 429, {"error": {"message": "slow down"}}, {"Retry-After": wait})
        if status == 401:
            key = handler.headers["Authorization"].removeprefix("Bearer ")
            words = f"Incorrect API key provided: {key}, also seen as {key[:10]}*** and ***{key[-9:]}"
        else:
            words = f"no luck with {handler.headers['Authorization']}"
        self._send(handler, entry, status, {"error": {"message": words}})

    def _reply(self, entry: dict, body: dict, item: dict, what: str) -> dict:
        """A chat completion; what it costs is written into ``entry``."""
        content, reason = self._content(item, what)
        entry["prompt"] = TEMPLATE_TOKENS + sum(count(message["content"]) for message in body["messages"])
        entry["answer"] = count(content)
        usage = {
            "prompt_tokens": entry["prompt"],
            "completion_tokens": entry["answer"],
            "total_tokens": entry["prompt"] + entry["answer"],
        }
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": f"{body['model']}-served",
            "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}],
        }
        if what != "nousage":
            reply["usage"] = dict.fromkeys(usage, 0) if what == "zerousage" else usage
        return reply

    def _send(self, handler, entry: dict, status: int, body, headers: dict | None = None) -> None:
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        handler.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)
        entry["sent"] = time.monotonic()

    def _content(self, item: dict, what: str) -> tuple[str, str]:
        """An answer made from the title, of a length that varies with it, and its finish reason."""
        chance = random.Random(item["title"])
        words = [word.strip("-,()&").lower() or "item" for word in item["title"].split()[:12]] or ["item"]
        value = {
            "key_terms": list(dict.fromkeys(words))[: chance.randint(3, 6)],
            "summary": f"A {' '.join(words[:8])} for the {item['domain'].lower()} of people who like it.",
            "interests": [f"{word} at home" for word in words[: chance.randint(2, 4)]],
        }
        told = json.dumps(value, ensure_ascii=False)
        thought = " ".join(
            chance.choice(("Okay,", "the title says", "so it is", "maybe", *words))
            for _ in range(chance.randint(60, 240))
        )
        if what == "length":
            return told[: len(told) // 2], "length"
        if what == "no_json":
            return "Ahoy! I am a pirate now, matey.", "stop"
        if what == "shape":
            return json.dumps(value | {"price": 3}), "stop"
        if what == "empty":
            return "", "stop"
        if what == "plain":
            return told, "stop"
        if what == "around":
            return f"Sure! Here {{it}} is:\n```json\n{told}\n```\nAnything else?", "stop"
        return f'<think>{thought} {{"key_terms"}}</think>\n\n{told}', "stop"


def _asked_about(body: dict) -> dict:
    """Title and domain that a request names."""
    try:
        return json.loads(body["messages"][-1]["content"])
    except ValueError:
        return {"title": "?", "domain": "?"}


def _send_half(handler, reply: dict) -> None:
    """Half the body, then the end of the connection."""
    text = json.dumps(reply).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text[: len(text) // 2])
    handler.close_connection = True
