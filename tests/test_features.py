"""Features: made once, found again, never those of other pictures or items."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from tiny_clip import tiny_clip

from ifcdsr_core.errors import InputError
from ifcdsr_core.features import cache, clip, images
from ifcdsr_core.features.cache import load_features
from ifcdsr_core.features.images import embed_images
from ifcdsr_core.features.texts import embed_texts
from ifcdsr_core.files import file_hash
from ifcdsr_core.paths import ROOT
from ifcdsr_core.scenario import Scenario

NUM_X, NUM_Y = 7, 5


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("IFCDSR_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def scenario(tmp_path, data):
    """Twelve items, each with a picture of its own."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "scenario"
    (folder / "images").mkdir(parents=True)
    for item in range(1, NUM_X + NUM_Y + 1):
        blocks = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((64, 64)).save(folder / "images" / f"{item}.png")
    count = NUM_X + NUM_Y
    items = pd.DataFrame(
        {
            "item": np.arange(1, count + 1, dtype=np.int32),
            "domain": ["x"] * NUM_X + ["y"] * NUM_Y,
            "source_id": [f"id{i}" for i in range(1, count + 1)],
            "title": None,
            "image": [f"images/{i}.png" for i in range(1, count + 1)],
        }
    )
    sequences = pd.DataFrame(
        {"user": ["u"], "split": ["train"], "target_domain": ["y"], "items": [[1, 8]], "timestamps": [None]}
    )
    return Scenario("food_kitchen", "demo", items, sequences, {}, folder)


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    """A stand-in for the small CLIP, a fixed projection of the pixels: these tests are about cache.py alone."""
    projection = torch.randn(3 * 8 * 8, 16, generator=torch.Generator().manual_seed(0))
    calls = []

    def encode(pixels):
        calls.append(len(pixels))
        return torch.nn.functional.normalize(pixels.flatten(1) @ projection, dim=-1)

    def preprocess(picture):
        return torch.from_numpy(np.asarray(picture.resize((8, 8)), dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)

    weights = tmp_path / "stand_in.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(clip, "SMALL_CLIP_WEIGHTS", weights)
    monkeypatch.setattr(
        images, "image_tower", lambda *_: clip.ImageTower(encode, preprocess, "eight pixels", file_hash(weights))
    )
    return calls


def with_items(scenario: Scenario, **columns) -> Scenario:
    return dataclasses.replace(scenario, items=scenario.items.assign(**columns))


def cached(data):
    return sorted((data / "features").glob("*"))


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_rows_are_unit_vectors_in_item_order(scenario, encoder):
    made = embed_images(scenario)
    assert made.matrix.shape == (NUM_X + NUM_Y, 16) and made.matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made.matrix, axis=1), 1, atol=1e-6)
    assert not made.missing.any()
    images = scenario.items["image"].tolist()
    swapped = embed_images(with_items(scenario, image=[images[1], images[0], *images[2:]]))
    np.testing.assert_allclose(swapped.matrix[[1, 0]], made.matrix[:2], atol=1e-6)


def test_found_again_without_the_encoder(scenario, encoder, data):
    made = embed_images(scenario)
    calls = len(encoder)
    found = embed_images(scenario)
    assert len(encoder) == calls and len(cached(data)) == 1
    assert found.fingerprint == made.fingerprint and found.encoder == "small_clip"
    np.testing.assert_array_equal(found.matrix, made.matrix)
    assert cached(data)[0].name == f"demo-food_kitchen-small-clip-{made.fingerprint[:12]}.safetensors"


def test_files_of_earlier_versions_are_found(scenario, encoder, data):
    """Finished runs are keyed by the fingerprint: neither it nor what a file had to record may change."""
    made = embed_images(scenario)
    digest = hashlib.sha256()
    for source_id, image in zip(scenario.items["source_id"], scenario.items["image"], strict=True):
        content = (scenario.folder / image).read_bytes()
        digest.update(f"{source_id}\x1f{len(content)}\n".encode() + content)
    made_of = ["small_clip", hashlib.sha256(b"weights").hexdigest(), "eight pixels", digest.hexdigest()]
    assert made.fingerprint == hashlib.sha256("\x1f".join(made_of).encode()).hexdigest()
    (path,) = cached(data)
    with cache.safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["record"])
    assert metadata["pictures_sha256"] == digest.hexdigest()
    for added in ("long", "unknown"):
        del metadata[added]
    metadata |= {"scenario_fingerprint": scenario.fingerprint, "shape": "[12, 16]", "reference_sha256": "0" * 64}
    save_file(load_file(path), path, metadata=metadata)
    calls = len(encoder)
    found = embed_images(scenario)
    assert len(encoder) == calls and found.fingerprint == made.fingerprint and found.long == 0


def test_a_changed_picture_changes_the_fingerprint(scenario, encoder, data):
    before = embed_images(scenario)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(scenario.folder / "images" / "3.png")
    after = embed_images(scenario)
    assert after.fingerprint != before.fingerprint and len(cached(data)) == 2
    assert np.abs(after.matrix - before.matrix).max(axis=1).nonzero()[0].tolist() == [2]


def test_features_of_other_weights_are_not_found(scenario, encoder, data):
    before = embed_images(scenario)
    clip.SMALL_CLIP_WEIGHTS.write_bytes(b"other weights")
    assert embed_images(scenario).fingerprint != before.fingerprint
    assert len(encoder) == len(cached(data)) == 2


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batch_size_does_not_change_features(scenario, encoder, data, batch_size):
    whole = embed_images(scenario).matrix
    for path in cached(data):
        path.unlink()
    np.testing.assert_allclose(embed_images(scenario, batch_size=batch_size).matrix, whole, atol=1e-5)


def test_a_failed_embedding_leaves_nothing(scenario, encoder, data, monkeypatch):
    monkeypatch.setattr(cache, "save_file", lambda tensors, path, metadata: (path.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        embed_images(scenario)
    assert [path for path in cached(data) if not path.name.startswith(".")] == []


@pytest.mark.slow
def test_a_cached_matrix_needs_neither_open_clip_nor_pil(scenario, encoder, data):
    embed_images(scenario)
    scenario.save(scenario.folder)
    code = (
        "import sys\nfor name in ('open_clip', 'PIL', 'torch'): sys.modules[name] = None\n"
        "from pathlib import Path\nfrom ifcdsr_core.features import clip, images\n"
        "from ifcdsr_core.scenario import Scenario\n"
        f"clip.SMALL_CLIP_WEIGHTS = Path({str(clip.SMALL_CLIP_WEIGHTS)!r})\n"
        f"print(images.embed_images(Scenario.load(Path({str(scenario.folder)!r}))).matrix.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == f"({NUM_X + NUM_Y}, 16)", done.stderr


# -- items without a usable picture ------------------------------------------------------------------------------------


def _bomb(path):
    """A tiny PNG that claims 40,000 x 40,000 pixels."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_unusable_pictures_get_the_mean_of_their_domain(scenario, encoder):
    usable = embed_images(scenario).matrix
    images = scenario.folder / "images"
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:300])  # cut short
    (images / "3.png").unlink()
    (images / "4.png").write_text("no picture")
    _bomb(images / "9.png")
    made = embed_images(with_items(scenario, image=[None, *scenario.items["image"][1:]]))
    assert (np.flatnonzero(made.missing) + 1).tolist() == [1, 2, 3, 4, 9]
    for rows, others in (([0, 1, 2, 3], [4, 5, 6]), ([8], [7, 9, 10, 11])):
        mean = usable[others].mean(axis=0)
        np.testing.assert_allclose(made.matrix[rows], np.tile(mean / np.linalg.norm(mean), (len(rows), 1)), atol=1e-6)
    np.testing.assert_allclose(made.matrix[~made.missing], usable[~made.missing], atol=1e-6)


def test_a_domain_without_pictures_gets_the_mean_of_all(scenario, encoder):
    usable = embed_images(scenario).matrix[:NUM_X].mean(axis=0)
    made = embed_images(with_items(scenario, image=[*scenario.items["image"][:NUM_X], *[None] * NUM_Y]))
    np.testing.assert_allclose(made.matrix[NUM_X:], np.tile(usable / np.linalg.norm(usable), (NUM_Y, 1)), atol=1e-6)
    assert made.missing.sum() == NUM_Y


def test_no_picture_at_all(scenario, encoder, data):
    with pytest.raises(InputError, match="has no pictures: train with image_fusion=false"):
        embed_images(with_items(scenario, image=None))
    assert cached(data) == []


# -- files that can't be used ------------------------------------------------------------------------------------------


def test_features_of_other_items_are_refused(scenario, encoder, data):
    embed_images(scenario)
    with pytest.raises(InputError, match="of other items"):
        load_features(cached(data)[0], with_items(scenario, source_id=[f"other{i}" for i in range(12)]))


def test_another_number_of_items_is_refused(scenario, encoder, data):
    embed_images(scenario)
    fewer = dataclasses.replace(scenario, items=scenario.items.iloc[:-1])
    with pytest.raises(InputError, match=r"shape \(12, 16\): demo/food_kitchen has 11 items"):
        load_features(cached(data)[0], fewer)


def _rewrite(path, change):
    """Save the file again with changed tensors and the same record."""
    with cache.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(scenario, encoder, data, value):
    embed_images(scenario)
    _rewrite(cached(data)[0], lambda tensors: tensors["features"].__setitem__((3, 4), value))
    with pytest.raises(InputError, match="not finite"):
        load_features(cached(data)[0], scenario)


def test_a_damaged_file_is_refused_and_left_alone(scenario, encoder, data):
    embed_images(scenario)
    path = cached(data)[0]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    for content in (b"", whole[:100], whole[:-7], bytes(flipped), b"not a safetensors file"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="delete it and embed the items again") as raised:
            embed_images(scenario)
        assert "\n" not in str(raised.value) and path.name in str(raised.value)
        assert path.read_bytes() == content and len(cached(data)) == 1


def test_a_file_without_its_record_is_refused(scenario, data):
    path = data / "features" / "x.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"features": np.eye(12, dtype=np.float32)}, path)
    with pytest.raises(InputError, match="no encoder is recorded"):
        load_features(path, scenario)
    with pytest.raises(InputError, match="can't be used as features"):
        load_features(path.with_name("absent.safetensors"), scenario)


def _records():
    """Records that were edited, and what is said of each."""
    return {
        "no dict": (lambda record: [1], "not one of texts"),
        "a number": (lambda record: record | {"encoder": 3}, "not one of texts"),
        "another encoder": (lambda record: record | {"encoder": "other"}, "its fingerprint does not fit"),
        "other weights": (lambda record: record | {"weights_sha256": "0"}, "its fingerprint does not fit"),
        "no pictures": (lambda record: {key: record[key] for key in record if key != "pictures_sha256"}, "no pictures"),
        "counted in words": (lambda record: record | {"long": "many"}, "invalid literal"),
    }


@pytest.mark.parametrize("name", list(_records()))
def test_an_edited_record_is_refused(scenario, encoder, data, name):
    embed_images(scenario)
    path, (change, says) = cached(data)[0], _records()[name]
    with cache.safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["record"])
    save_file(load_file(path), path, metadata={"record": json.dumps(change(record))})
    with pytest.raises(InputError, match=f"{says}.*delete it and embed the items again") as raised:
        embed_images(scenario)
    assert path.name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("change", [lambda t: t.pop("features"), lambda t: t.pop("missing"), lambda t: t.clear()])
def test_a_file_without_its_tensors_is_refused(scenario, encoder, data, change):
    embed_images(scenario)
    _rewrite(cached(data)[0], change)
    with pytest.raises(InputError, match="delete it and embed the items again"):
        embed_images(scenario)


def test_a_file_that_cannot_be_opened_is_not_to_be_deleted(scenario, encoder, data):
    """It may be whole. A folder stands for what is not to be read: tests may run as root, who may read all."""
    embed_images(scenario)
    path = cached(data)[0]
    path.rename(path.with_suffix(".kept"))
    path.mkdir()
    with pytest.raises(InputError, match="can't be used as features .*: make it a file that can be read") as raised:
        embed_images(scenario)
    assert "delete" not in str(raised.value)
    path.rmdir()
    path.symlink_to("nothing")
    with pytest.raises(InputError, match="No such file or directory"):
        embed_images(scenario)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_of_another_user_are_not_to_be_deleted(scenario, encoder, data, tmp_path):
    embed_images(scenario)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\n"
        "from ifcdsr_core.features.cache import _read_metadata\nfrom ifcdsr_core.errors import InputError\n"
        "os.setuid(65534)\ntry: _read_metadata(Path(sys.argv[2]))\nexcept InputError as error: print(error)"
    )
    path = cached(data)[0]
    path.chmod(0o600)
    said = subprocess.run([sys.executable, "-c", code, str(ROOT), str(path)], capture_output=True, text=True).stdout
    assert "Permission denied" in said and "delete" not in said


def test_a_picture_that_cannot_be_opened_stops_instead_of_counting_as_missing(scenario, encoder):
    path = scenario.folder / "images" / "2.png"
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"2.png can't be opened \(Is a directory\): make it readable"):
        embed_images(scenario)


def test_no_usable_picture_is_not_no_picture(scenario, encoder, data):
    for path in (scenario.folder / "images").iterdir():
        path.write_text("no picture")
    with pytest.raises(InputError, match="none of the pictures in .* is usable: prepare the scenario again"):
        embed_images(scenario)
    assert cached(data) == []


def test_a_wrong_device_is_refused_with_cached_features_too(scenario, encoder):
    for _ in range(2):
        with pytest.raises(InputError, match="unknown device 'abc': choose one of cpu, cuda"):
            embed_images(scenario, device="abc")
        embed_images(scenario)
    with pytest.raises(InputError, match="unknown device 'abc'"):
        embed_texts(with_items(scenario, title="some words"), device="abc")


# -- encoders ----------------------------------------------------------------------------------------------------------


def test_a_model_of_open_clip_from_a_file(scenario, data, tmp_path):
    import open_clip
    from open_clip import image_transform

    with tiny_clip(tmp_path) as (encoder, model):
        made = embed_images(scenario, encoder, batch_size=5)
        (tmp_path / "w.safetensors").write_bytes(b"nonsense")
        with pytest.raises(InputError, match="can't be loaded as weights"):
            embed_images(scenario, encoder)
    assert made.encoder == "Tiny-16/w.safetensors"  # results name no folder of this machine
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    preprocess = image_transform(model.visual.image_size, is_train=False, mean=mean, std=std)
    pictures = [preprocess(Image.open(scenario.folder / image)) for image in scenario.items["image"]]
    with torch.inference_mode():
        expected = model.encode_image(torch.stack(pictures), normalize=True)
    torch.testing.assert_close(torch.from_numpy(made.matrix), expected, atol=1e-5, rtol=0)
    with cache.safe_open(cached(data)[0], framework="numpy") as file:
        recorded = json.loads(json.loads(file.metadata()["record"])["preprocessing"])
    assert recorded["mean"] == list(mean) and recorded["std"] == list(std) and recorded["size"] == [32, 32]


def test_a_tag_found_in_the_cache_needs_no_download(scenario, encoder, data, monkeypatch):
    made = embed_images(scenario, "ViT-B-32-quickgelu/openai")
    monkeypatch.setattr(images, "image_tower", lambda *_: pytest.fail("loaded"))
    assert embed_images(scenario, "ViT-B-32-quickgelu/openai").fingerprint == made.fingerprint


@pytest.mark.parametrize(
    "encoder_name, message",
    [
        ("ViT-B-32/openai", "choose ViT-B-32-quickgelu/openai"),
        ("ViT-B-23/openai", "unknown open_clip model 'ViT-B-23': did you mean .*ViT-B-32"),
        ("ViT-B-32-quickgelu/openia", "unknown weights 'openia' .* did you mean openai"),
        ("ViT-B-32-quickgelu/laion2b_e16", "such as ViT-B-32/laion2b_e16"),
        ("ViT-S-32/any", "no published weights"),
        ("big_clip", "unknown encoder 'big_clip': choose small_clip, or"),
        ("ViT-B-32/", "unknown encoder"),
        ("ViT-B-32/nowhere/weights.pt", "no weights at nowhere/weights.pt"),
    ],
)
def test_encoders_that_do_not_exist(scenario, encoder_name, message):
    with pytest.raises(InputError, match=message) as raised:
        embed_images(scenario, encoder_name)
    assert "\n" not in str(raised.value)


def test_weights_that_can_not_be_downloaded(scenario, monkeypatch, data):
    import open_clip

    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network, raising=False)
    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", no_network)
    with pytest.raises(InputError, match="can't be downloaded from https://.*no route to host.*pass encoder="):
        embed_images(scenario, "ViT-B-32-quickgelu/openai")
    assert cached(data) == []


def test_bad_settings(scenario):
    with pytest.raises(InputError, match="batch_size is 0"):
        embed_images(scenario, batch_size=0)


def test_the_shipped_small_clip(scenario, data):
    made = embed_images(scenario)
    assert made.matrix.shape == (NUM_X + NUM_Y, 64) and not made.missing.any()
    cached(data)[0].unlink()
    np.testing.assert_allclose(embed_images(scenario, batch_size=5).matrix, made.matrix, atol=1e-5)
