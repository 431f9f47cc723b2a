"""The explorer: a trained IFCDSR in one HTML page that needs no server and no network.

    model.js     the forward pass, which carries the equation numbers
    page.js      what a reader does and sees
    page.html, page.css

``fragment`` puts them and the weights of some runs together, ``page`` makes a whole file of it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from torch import Tensor

from ifcdsr_core.batches import Batch
from ifcdsr_core.book.markup import script_json
from ifcdsr_core.errors import InputError
from ifcdsr_core.features.images import open_picture, picture_paths
from ifcdsr_core.files import new_file
from ifcdsr_core.models.ifcdsr import IFCDSR
from ifcdsr_core.runs.assembly import restore
from ifcdsr_core.runs.store import Run
from ifcdsr_core.scenario import PAD_ID, Scenario

PICTURE, QUALITY = 48, 60  # pixels of an item's picture, and WebP's quality
CASES = 100  # test cases of each domain, drawn
FILTERS = {"kind": "Kind", "colour": "Colour", "pattern": "Pattern"}
KNOBS = (
    {"name": "alpha", "label": "α: the ID's share, the image gets the rest (5)", "min": 0, "max": 1, "step": 0.01},
    {"name": "lambda_1", "label": "λ₁: the other domain's branch (8)", "min": 0, "max": 1, "step": 0.01},
    {"name": "lambda_2", "label": "λ₂: the merged branch (8)", "min": 0, "max": 1, "step": 0.01},
    {"name": "temperature", "label": "τ: temperature of the softmax (3), (4)", "min": 0.01, "max": 1, "step": 0.005},
)
LABELS = {  # by image_fusion and multiple_attention: the columns of Table 4
    (False, False): "original framework",
    (True, False): "+ image fusion",
    (True, True): "+ multiple attention",
    (False, True): "+ multiple attention, no images",
}
ABSENT = (
    "Here a reader puts items into a history and sees what IFCDSR recommends next, and why: a trained model runs in "
    "the page itself. That needs JavaScript, which is off here, or not trusted."
)
_READ = (
    "alpha lambda_1 lambda_2 image_fusion multiple_attention source_branch num_layers num_heads inner_size positions "
    "activation"
).split()  # what model.js reads of a model's configuration
_FOLDER = Path(__file__).parent


def page(folders: Sequence[Path], path: Path) -> Path:
    """Write the explorer of some runs as one HTML file.

    Raises:
        InputError: as ``fragment``; the file can't be written.
    """
    html = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>IFCDSR, explored</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>body { max-width: 84rem; margin: 0 auto; padding: 0.5rem; font-family: system-ui }</style>\n"
        f"<body>\n<main>\n{fragment(folders)}\n</main>\n</body>\n</html>\n"
    )
    with new_file(path) as staging:
        staging.write_text(html, encoding="utf-8")
    return path


def fragment(folders: Sequence[Path]) -> str:
    """The explorer of some runs, to be put into a page.

    Args:
        folders: of runs of IFCDSR, with weights, all of the same data.

    Raises:
        InputError: no run; a folder is not a run of IFCDSR with its weights and data; runs of different data; images
            are projected.
    """
    from jinja2 import Environment

    if not folders:
        raise InputError("there is no run to export: name at least one run folder")
    restored = [_restored(folder) for folder in folders]
    _, first, world, encoded = restored[0]
    for folder, (_, model, other, _) in zip(folders, restored, strict=True):
        if (other.fingerprint, model.inputs.max_seq_len) != (world.fingerprint, first.inputs.max_seq_len):
            raise InputError(f"{folder} is of other data than {folders[0]}: export runs of the same data together")
    models = [_exported(run, model) for run, model, *_ in restored]
    seen = [model.image_features for _, model, *_ in restored if model.config.image_fusion]
    images = seen[0] if seen else None
    if any(not other.equal(images) for other in seen):
        raise InputError("the runs see different images of the same items: export them one by one")
    catalogue = _catalogue(world) | {"max_seq_len": first.inputs.max_seq_len, **_images(images)}
    cases = _cases(encoded["test"])
    data = {"domains": world.domain_names, "catalogue": catalogue, "models": models, "cases": cases}
    filters = [{"name": "domain", "label": "Domain", "values": world.domain_names}]
    filters += [
        {"name": name, "label": label, "values": catalogue[f"{name}s"]}
        for name, label in FILTERS.items()
        if name in catalogue
    ]
    parts = {name: (_FOLDER / file).read_text(encoding="utf-8") for name, file in _FILES.items()}
    template = Environment(autoescape=True, keep_trailing_newline=True).from_string(parts.pop("template"))
    from markupsafe import Markup

    return template.render(
        absent=ABSENT,
        models=models,
        cases=len(cases),
        domains=world.domain_names,
        filters=filters,
        knobs=KNOBS,
        data=Markup(script_json(data)),
        **{name: Markup(text) for name, text in parts.items()},
    )


_FILES = {"template": "page.html", "style": "page.css", "model_script": "model.js", "page_script": "page.js"}


def _restored(folder: Path) -> tuple[Run, IFCDSR, Scenario, dict[str, Batch]]:
    run = Run.load(folder)
    if run.config["model"] != "ifcdsr":
        raise InputError(f"{folder} is a run of {run.config['model']}: the explorer has IFCDSR's forward pass alone")
    if run.config["model_options"]["image_projection"] != "none":
        raise InputError(f"{folder} projects its images: the explorer knows image_projection=none alone")
    return run, *restore(run)


def _exported(run: Run, model: IFCDSR) -> dict:
    """A run's weights and what has to be known of it; row 0 of the item embedding, padding, is left out."""
    state = dict(model.state_dict())
    state["item_embedding.weight"] = state["item_embedding.weight"][1:]
    config = {name: getattr(model.config, name) for name in _READ}
    mrr = run.mrr()
    return {
        "label": LABELS[config["image_fusion"], config["multiple_attention"]],
        "run": run.folder.name,
        "seed": run.config["seed"],
        "mrr": [mrr.get("x"), mrr.get("y")],  # none without test cases
        "config": config,
        "tensors": {name: packed(tensor.cpu().numpy()) for name, tensor in state.items()},
    }


def packed(numbers: np.ndarray) -> dict:
    """Numbers as whole multiples of a step, three bytes each: a quarter less to load than float32, and as exact.

    Returns:
        ``shape``; ``step``, the largest magnitude divided by 2^23 - 1; ``bytes``, base64, the lowest byte first.
    """
    step = float(np.abs(numbers).max(initial=0)) / (2**23 - 1) or 1.0
    whole = np.rint(numbers.astype(np.float64) / step).astype("<i4").reshape(-1)
    three = whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return {"shape": list(numbers.shape), "step": step, "bytes": base64.b64encode(three).decode()}


def _images(features: Tensor | None) -> dict:
    """The frozen image vectors of all items, without padding's row."""
    if features is None:
        return {}
    return {"images": packed(features[1:].cpu().numpy())}


def _catalogue(world: Scenario) -> dict:
    """The items of a scenario by column, and their pictures."""
    items = world.items
    titles = items["title"].fillna(items["source_id"]) if "title" in items else items["source_id"]
    catalogue = {
        "num_items_x": world.num_items_x,
        "titles": titles.astype(str).tolist(),
        "domain": (items["domain"] == "y").astype(int).tolist(),
        "sprite": _sprite(world),
    }
    for name in FILTERS:
        if name in items:
            values = sorted(items[name].unique())
            catalogue |= {f"{name}s": values, name: [values.index(value) for value in items[name]]}
    return catalogue


def _sprite(world: Scenario) -> dict | None:
    """The pictures of all items on one square sheet, row by row; an item without one has a white place."""
    from PIL import Image

    paths = picture_paths(world)
    if not any(paths):
        return None
    columns = math.ceil(math.sqrt(len(paths)))
    rows = math.ceil(len(paths) / columns)
    sheet = Image.new("RGB", (columns * PICTURE, rows * PICTURE), "white")
    for place, path in enumerate(paths):
        if (picture := open_picture(path)) is not None:
            small = picture.resize((PICTURE, PICTURE), Image.Resampling.LANCZOS)
            sheet.paste(small, (place % columns * PICTURE, place // columns * PICTURE))
    written = io.BytesIO()
    sheet.save(written, "WEBP", quality=QUALITY)
    return {"columns": columns, "rows": rows, "webp": base64.b64encode(written.getvalue()).decode()}


def _cases(test: Batch) -> list[dict]:
    """Test cases, ``CASES`` of each domain drawn by a seed, one of X and one of Y in turn: history and target."""
    drawn = []
    for domain in (0, 1):
        members = np.flatnonzero(test.target_domain.numpy() == domain)
        drawn.append(np.random.default_rng([0, domain]).permutation(members)[:CASES])
    order = [int(case) for pair in zip_longest(*drawn) for case in pair if case is not None]
    return [
        {
            "history": [item for item in test.item_seq[case].tolist() if item != PAD_ID],
            "target": int(test.target_item[case]),
        }
        for case in order
    ]
