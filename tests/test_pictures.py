"""The demo's pictures and the small CLIP that has to tell them apart."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from ifcdsr_core.errors import InputError
from ifcdsr_core.features import SMALL_CLIP_RECORD, small_clip
from ifcdsr_core.sources.demo.drawings import _SHAPES, COLOURS, KINDS, PATTERNS, Look, _layers, all_looks, caption, draw


def pixels(look: Look, seed: int = 0, size: int = 64) -> np.ndarray:
    return np.asarray(draw(look, np.random.default_rng(seed), size), dtype=float)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_shape_inside_its_frame():
    assert sorted(_SHAPES) == sorted(itertools.chain(*KINDS.values()))
    assert all(np.abs(points).max() <= 1 for kind in _SHAPES for points, _ in _layers(kind))
    assert len(set(all_looks("Food"))) == len(KINDS["Food"]) * len(COLOURS) * len(PATTERNS)


def test_a_seed_gives_one_picture_and_another_seed_another():
    look = Look("Kitchen", "mug", "red", "dots")
    assert np.array_equal(pixels(look, 3), pixels(look, 3))
    assert len({pixels(look, seed).tobytes() for seed in range(40)}) == 40


@pytest.mark.parametrize("size", [32, 64, 96])
def test_size(size):
    picture = draw(Look("Book", "open book", "blue", "zigzag"), np.random.default_rng(0), size)
    assert picture.size == (size, size) and picture.mode == "RGB"


@pytest.mark.slow
@pytest.mark.parametrize("domain_name", KINDS)
def test_looks_that_differ_in_one_attribute_differ_visibly(domain_name):
    """The same seed places both alike, so what differs is the attribute alone."""
    kinds = KINDS[domain_name]
    for kind in kinds:
        families = [
            [Look(domain_name, kind, colour, "plain") for colour in COLOURS],
            [Look(domain_name, kind, "blue", pattern) for pattern in PATTERNS],
        ]
        for family in families:
            for one, other in itertools.combinations([pixels(look) for look in family], 2):
                assert np.abs(one - other).mean() > 2
    for one, other in itertools.combinations([pixels(Look(domain_name, kind, "red", "plain")) for kind in kinds], 2):
        assert np.abs(one - other).mean() > 1  # two posters differ in their motif only


def test_captions_vary_and_name_everything():
    rng = np.random.default_rng(0)
    for domain_name in KINDS:
        for look in all_looks(domain_name)[::7]:
            text = caption(look, rng)
            assert look.colour in text and look.kind in text
    captions = {caption(Look("Kitchen", "mug", "orange", "dots"), rng) for _ in range(60)}
    assert len(captions) > 10 and not any("a orange" in text for text in captions)


# --- the small CLIP ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return small_clip.load()


def test_words():
    tokenizer = small_clip.Words(["blue", "mug"])
    tokens = tokenizer(["Blue mug!", "a mug", "mug " * 40])
    assert tokens.shape == (3, small_clip.CONTEXT_LENGTH)
    assert tokens[0, :5].tolist() == [1, 3, 4, 5, 0] and tokens[1, :5].tolist() == [1, 2, 4, 5, 0]
    assert tokens[2, -1] == tokenizer.vocab_size - 1  # the end is kept, the rest cut


def test_preprocess_is_what_training_saw(shipped):
    model, preprocess, _ = shipped
    assert not model.training
    look = Look("Movie", "ghost poster", "pink", "checks")
    raw = small_clip._pixels(look, np.random.default_rng(5))
    torch.testing.assert_close(preprocess(draw(look, np.random.default_rng(5))), small_clip._normalised(raw[None])[0])
    assert preprocess(draw(look, np.random.default_rng(5), 100)).shape == (3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("unseen", [False, True], ids=["new pictures", "combinations never trained on"])
def test_zero_shot_accuracy_of_the_shipped_weights(shipped, unseen):
    model, _, tokenizer = shipped
    scores = small_clip.zero_shot_accuracy(model, tokenizer, n=320, seed=1, unseen=unseen)
    accuracy = {name: score["accuracy"] for name, score in scores.items()}
    assert accuracy["kind"] > 0.95 and accuracy["colour"] > 0.95 and accuracy["pattern"] > 0.90
    recorded = json.loads(SMALL_CLIP_RECORD.read_text())["zero_shot"]
    for name, score in recorded["held_out_combinations" if unseen else "new_pictures"].items():
        assert accuracy[name] == pytest.approx(score["accuracy"], abs=0.04)
    assert accuracy["joint"] > 0.85 and scores["joint"]["chance"] == pytest.approx(1 / 480)


def test_the_record_tells_what_was_shipped():
    record = json.loads(SMALL_CLIP_RECORD.read_text())
    assert small_clip.SMALL_CLIP_WEIGHTS.stat().st_size < 10e6
    assert record["recipe"]["steps"] == small_clip.STEPS and record["recipe"]["pictures"] == small_clip.PICTURES
    assert set(record["zero_shot"]) == {"new_pictures", "held_out_combinations"}


def test_one_colour_of_every_kind_is_held_out():
    for domain_name, kinds in KINDS.items():
        absent = [(look.kind, look.colour) for look in all_looks(domain_name) if small_clip.held_out(look)]
        assert len(set(absent)) == len({kind for kind, _ in absent}) == len(kinds)


@pytest.mark.slow
def test_training_is_deterministic_and_the_loss_falls():
    state = torch.random.get_rng_state()
    runs = []
    for _ in range(2):
        losses: list[float] = []
        model, _ = small_clip.train(seed=3, steps=8, pictures=160, progress=False, history=losses)
        runs.append((losses, model.state_dict()))
    (losses, one), (again, other) = runs
    assert losses == again and all(torch.equal(one[name], other[name]) for name in one)
    assert np.mean(losses[-2:]) < losses[0] - 0.5
    assert torch.equal(state, torch.random.get_rng_state())


def test_damaged_weights_are_one_clear_line(tmp_path):
    path = tmp_path / "small_clip.safetensors"
    path.write_bytes(small_clip.SMALL_CLIP_WEIGHTS.read_bytes()[:5000])
    path.with_suffix(".json").write_text(SMALL_CLIP_RECORD.read_text())
    with pytest.raises(InputError, match="restore them from the repository"):
        small_clip.load(path)
