"""RecBole's SASRec at work: training samples and ranked cases per second, and its memory.

    PYTHON benchmarks/peers/recbole_sasrec.py sequences.npz [--steps 20] [--rank-cases 1024] [--threads 1]

PYTHON is that of RecBole's environment, and sequences.npz what ``save_sequences`` writes (environment.py has both). All
work is RecBole's own: its atomic files, its augmentation (each prefix of a sequence is a training sample), its
data loaders, model, training loop, full ranking and metrics. Only the sizes and the split are given. Times start after
a few steps, and after one batch of ranking, that are not counted.

RecBole pads every history to the maximum, however short they all are; --max-length says another. To import any of its
sequential models turns on torch's anomaly detection (its sine.py does so for the whole process), which looks for NaN
after each operation of the backward pass; --no-anomaly-detection turns it off. A batch of 256 is 256 prefixes, so the
optimiser steps more often per sequence than where a batch is 256 sequences; --batch-size says another.

The figures are printed as one line of JSON:

samples_per_sequence         training samples that a sequence makes, on average: its length - 1
train_samples_per_second     in RecBole's _train_epoch: loader, loss, gradient, Adam
train_sequences_per_second   samples per second / samples per sequence
rank_cases_per_second        in RecBole's evaluate: loader, scores of all items, top 10, metrics
*_cpu_seconds                processor time of the timed part, all threads together
setup_seconds                import, files, augmentation, model
training_peak_mib, peak_mib  peak memory of the process, set-up included: until training ends; until all ends
first_loss, loss             of the very first step; mean of the timed steps
metrics                      RecBole's, of the timed cases
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

NAME = "sequences"
WARM_UP = 3  # steps
LAST = 2_000_000  # a time behind all others, and exact in RecBole's float32


def put_atomic_files(path: Path, folder: Path) -> list[float]:
    """RecBole's files of all sequences, each of which is a user.

    The times make RecBole split by time as wanted: first what is trained on, then the histories of the test sequences
    (RecBole's validation split, not used here), then their last items. Items are named in a file of their own, since
    some occur in no sequence and compete all the same.

    Returns:
        The sizes of the three splits, as RecBole's ratios.
    """
    with np.load(path, allow_pickle=False) as arrays:
        given = {name: arrays[name] for name in arrays.files}
    lengths = np.concatenate([given["train_lengths"], given["test_lengths"]]).astype(np.int64)
    user = np.repeat(np.arange(len(lengths)), lengths)
    ends = lengths.cumsum()
    position = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    is_test = user >= len(given["train_lengths"])
    timestamp = np.where(is_test, LAST // 2 + position, position)
    timestamp[ends[len(given["train_lengths"]) :] - 1] = LAST
    rows = np.column_stack([user, np.concatenate([given["train_items"], given["test_items"]]), timestamp])

    (folder / NAME).mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / NAME / f"{NAME}.inter", rows, fmt="%d", delimiter="\t", header=header, comments="")
    items = np.arange(1, given["num_items"] + 1)
    np.savetxt(folder / NAME / f"{NAME}.item", items, fmt="%d", header="item_id:token", comments="")

    tests = len(given["test_lengths"])
    trained = int((given["train_lengths"] - 1).sum())
    unused = int((given["test_lengths"] - 1).sum()) - tests
    return [trained - 1, unused + 0.5, tests + 0.5]  # RecBole rounds the last two down, the first gets the rest


def configuration(folder: Path, split: list[float], given: argparse.Namespace) -> dict:
    """The sizes of the book's SASRec; what isn't said here is RecBole's default."""
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
        "eval_args": {"split": {"RS": split}, "group_by": "none", "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "hidden_size": 256,
        "inner_size": 256,
        "n_heads": 2,
        "n_layers": 1,
        "hidden_dropout_prob": 0.3,
        "attn_dropout_prob": 0.3,
        "MAX_ITEM_LIST_LENGTH": given.max_length,
        "train_batch_size": given.batch_size,
        "eval_batch_size": given.rank_batch_size,
        "use_gpu": False,
        "show_progress": False,
    }


def endless(loader) -> Iterator:
    """Epoch after epoch."""
    while True:
        yield from loader


def peak_mib() -> float:
    """Peak memory of this process in MiB; not that of the process it was started from, which Linux's getrusage adds."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / 2 ** (20 if sys.platform == "darwin" else 10), 1)


def measure(folder: Path, given: argparse.Namespace) -> dict:
    """Set up as RecBole's run_recbole does, then time its trainer."""
    begin = time.perf_counter()
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    torch.set_num_threads(given.threads)
    split = put_atomic_files(given.sequences, folder)
    os.chdir(folder)  # RecBole writes a log where it is started
    sys.argv[1:] = []  # RecBole reads them, too
    config = Config(model="SASRec", dataset=NAME, config_dict=configuration(folder, split, given))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if given.no_anomaly_detection:
        torch.autograd.set_detect_anomaly(False)
    with np.load(given.sequences) as arrays:
        sequences = len(arrays["train_lengths"])
    facts = {
        "train_samples": len(train_data.dataset),
        "train_sequences": sequences,
        "samples_per_sequence": len(train_data.dataset) / sequences,
        "items": dataset.item_num - 1,  # RecBole counts its padding
        "input_shape": list(next(iter(train_data))["item_id_list"].shape),
        "setup_seconds": round(time.perf_counter() - begin, 2),
    }

    batches = endless(train_data)
    facts["first_loss"] = trainer._train_epoch(islice(batches, 1), 0)
    trainer._train_epoch(islice(batches, WARM_UP - 1), 0)
    begin, busy = time.perf_counter(), time.process_time()
    samples = Counted(islice(batches, given.steps))
    facts["loss"] = trainer._train_epoch(samples, 0) / given.steps
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    facts |= {"train_seconds": round(seconds, 3), "train_cpu_seconds": round(busy, 3)}
    facts["train_samples_per_second"] = round(samples.count / seconds, 2)
    facts["train_sequences_per_second"] = round(samples.count / seconds / facts["samples_per_sequence"], 2)
    facts["training_peak_mib"] = peak_mib()

    if given.rank_cases:
        facts |= rank(trainer, test_data, given)
    return facts | {
        "peak_mib": peak_mib(),
        "anomaly_detection": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


class Counted:
    """Batches, and how many samples they held: the last of an epoch is smaller."""

    def __init__(self, batches: Iterator) -> None:
        self.batches, self.count = batches, 0

    def __iter__(self) -> Iterator:
        for batch in self.batches:
            self.count += len(batch)
            yield batch


def rank(trainer, test_data, given: argparse.Namespace) -> dict:
    """Time RecBole's evaluation of the first cases."""
    tests = test_data.dataset

    def loader(count: int):
        return type(test_data)(trainer.config, tests.copy(tests.inter_feat[:count]), test_data._sampler)

    trainer.evaluate(loader(given.rank_batch_size), load_best_model=False)
    cases = loader(given.rank_cases)
    begin, busy = time.perf_counter(), time.process_time()
    metrics = trainer.evaluate(cases, load_best_model=False)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    return {
        "rank_cases": len(cases.dataset),
        "rank_seconds": round(seconds, 3),
        "rank_cpu_seconds": round(busy, 3),
        "rank_cases_per_second": round(len(cases.dataset) / seconds, 2),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequences", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="training steps to time")
    parser.add_argument("--rank-cases", type=int, default=1024, help="test cases to time; 0 for none")
    parser.add_argument("--batch-size", type=int, default=256, help="samples per training step")
    parser.add_argument("--rank-batch-size", type=int, default=256, help="test cases ranked at a time")
    parser.add_argument("--max-length", type=int, default=50, help="RecBole pads every history to this")
    parser.add_argument("--no-anomaly-detection", action="store_true", help="turn off what RecBole turns on")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    given.sequences = given.sequences.resolve()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", FutureWarning)  # RecBole's, of pandas 3 and of torch
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(Path(folder), given)
        os.chdir(given.sequences.parent)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
