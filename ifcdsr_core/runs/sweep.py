"""The sweep: a list of configurations, carried out by the processors or GPUs of this machine or by a Slurm cluster.

A finished run is found and not repeated, and one that was interrupted continues after its last epoch. So a sweep may be
killed at any time, and the same command goes on with it.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from tqdm import tqdm

from ifcdsr_core.errors import Diverged, InputError, require
from ifcdsr_core.paths import processors
from ifcdsr_core.runs.config import Experiment, RunConfig
from ifcdsr_core.runs.model import describe
from ifcdsr_core.runs.run import identify, run
from ifcdsr_core.runs.store import Run, find, key, runs_dir


def sweep(
    configs: Sequence[RunConfig],
    jobs: int | None = None,
    gpus: Sequence[str] = (),
    shipped: bool = True,
    may_diverge: bool = False,
    report: Callable[[str], None] | None = None,
) -> list[Run | None]:
    """Run what is not yet there, in processes of this machine.

    Args:
        jobs: configurations at a time; by default one per GPU named, else one per processor or its threads. They share
            the processors out.
        gpus: numbers of GPUs to share out, as in CUDA_VISIBLE_DEVICES; the configurations then say ``device="cuda"``.
        shipped: take runs that are shipped with the checkout as finished.
        may_diverge: a run that diverges has not failed: None stands in its place.
        report: called with a line for each run that ends; without it a bar is shown in a terminal.

    Returns:
        The finished runs, in the order of the configurations.

    Raises:
        InputError: runs failed, after all others were finished; or a process was killed from outside.
    """
    require(jobs is None or 1 <= jobs <= 1_000, "jobs", jobs, "between 1 and 1,000")
    for config in configs:
        require(not gpus or config.device == "cuda", "device", config.device, "cuda for GPUs to be shared out")
    threads = max((config.threads for config in configs), default=0)

    def carry_out(waiting: Sequence[RunConfig]) -> Iterator[tuple[int, Run | Exception | None]]:
        at_once = min(len(waiting), jobs or len(gpus) or max(1, processors() // max(1, threads)))
        others = set(multiprocessing.active_children())
        pool = _pool(at_once, gpus)
        try:
            futures = {pool.submit(_job(may_diverge), config): position for position, config in enumerate(waiting)}
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    raise InputError(
                        "a process was killed, perhaps for lack of memory: the same command goes on, "
                        "with fewer --jobs if need be; what is finished is kept"
                    )
                yield futures[future], future.exception() or future.result()
        except BaseException:  # Ctrl-C, too
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
        pool.shutdown()

    return _gather(configs, carry_out, shipped, report)


def submit(
    configs: Sequence[RunConfig],
    cluster: str | None = None,
    options: dict | None = None,
    shipped: bool = True,
    may_diverge: bool = False,
    report: Callable[[str], None] | None = None,
) -> list[Run | None]:
    """Run what is not yet there as jobs of a cluster, one each, and wait for them.

    The jobs go on if this process ends; the same call then finds what they finished. Data, checkout and the jobs' logs
    in ``data/runs/.cluster`` have to be on a file system that all machines share.

    Args:
        cluster: ``slurm`` (None where it is installed), or ``local``: processes of this machine that act like one.
        options: of submitit's executor, such as ``timeout_min``, ``gpus_per_node``, ``slurm_partition``.
        shipped, may_diverge, report: as of ``sweep``.

    Raises:
        InputError: runs failed, after all others were finished; no Slurm here; an option submitit does not know.
    """
    import submitit

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except Exception as error:  # RuntimeError, NameError and others, with lists of what submitit knows
            raise InputError(f"submitit can't start jobs: {' '.join(str(error).split())[:300]}") from error

    with told():
        executor = submitit.AutoExecutor(runs_dir() / ".cluster", cluster=cluster)
        executor.update_parameters(**(options or {}))

    def carry_out(waiting: Sequence[RunConfig]) -> Iterator[tuple[int, Run | Exception | None]]:
        with told():
            running = dict(enumerate(executor.map_array(_job(may_diverge), list(waiting))))
        while running:
            for position in [position for position, job in running.items() if job.done()]:
                job = running.pop(position)
                try:
                    outcome = job.result()
                except Exception as error:  # the job's own, or that the cluster ended it
                    outcome = error
                yield position, outcome
            time.sleep(0.5)

    return _gather(configs, carry_out, shipped, report)


def _job(may_diverge: bool) -> Callable[[RunConfig], Run | None]:
    """What a process does with a configuration."""
    return _run_unless_diverged if may_diverge else run


def _run_unless_diverged(config: RunConfig) -> Run | None:
    # a value: of an error, a cluster's job gives the words alone
    try:
        return run(config)
    except Diverged:
        return None


def _gather(
    configs: Sequence[RunConfig],
    carry_out: Callable[[Sequence[RunConfig]], Iterable],
    shipped: bool,
    report: Callable[[str], None] | None,
) -> list[Run | None]:
    """Find what is there, have the rest carried out, and report each. Equal configurations are one run."""
    configs, asked = list({key(config): config for config in configs}.values()), configs
    found = [find(config, identity, shipped) for config, identity in zip(configs, _identities(configs), strict=True)]
    waiting = [position for position, finished in enumerate(found) if finished is None]
    failed: dict[int, Exception] = {}
    done = len(configs) - len(waiting)
    bar = tqdm(total=len(configs), initial=done, unit="run", disable=bool(report) or not sys.stderr.isatty())
    with bar:
        for number, outcome in carry_out([configs[position] for position in waiting]) if waiting else ():
            position = waiting[number]
            if isinstance(outcome, Exception):
                failed[position] = outcome
            else:
                found[position] = outcome
            done += 1
            bar.update()
            if report is not None:
                report(f"{done} of {len(configs)}: {_outcome_line(configs[position], outcome)}")
    if failed:
        position, error = min(failed.items())
        raise InputError(
            f"{len(failed)} of {len(configs)} runs failed, the others are finished and will be found. "
            f"The first: {_outcome_line(configs[position], error)}"
        ) from error
    of_key = dict(zip(map(key, configs), found, strict=True))
    return [of_key[key(config)] for config in asked]


def _identities(configs: Sequence[RunConfig]) -> list[dict]:
    """What the runs of each configuration are identified by; scenarios and features are made here, once."""
    known: dict[str, dict] = {}
    result = []
    for config in configs:
        _, features, versions = describe(config.model, config.model_options)
        data = config.source, config.scenario, config.source_options
        key = json.dumps([*data, config.encoder, config.text, config.text_encoder, features])
        if key not in known:
            known[key] = identify(config)
        result.append(known[key] | {"code_versions": versions})
    return result


def _outcome_line(config: RunConfig, outcome: Run | Exception | None) -> str:
    """One run of a sweep in a line, by its validation: who searches has no business with the test set."""
    what = f"{config.source} {config.scenario} {config.model} seed {config.seed}"
    if isinstance(outcome, Exception):
        return f"{what}: {_reason(outcome)}"
    if outcome is None:
        return f"{what}: diverged"
    epochs = f"epoch {outcome.best_epoch} of {len(outcome.history)}"
    return f"{what}: validation MRR {100 * outcome.validation_mrr:.2f} % ({epochs})"


def _reason(error: Exception) -> str:
    """Why a run failed, in one line; of a cluster's job, whose error is told by its traceback, that one's last line."""
    text, _, logs = str(error).partition("You can check full logs")
    lines = [line for line in text.splitlines() if line.strip(" -")] or [""]
    told = re.sub(r"^[\w.]*\.(?=\w+: )", "", lines[-1].strip())  # a traceback names the module of an error as well
    name = "" if logs else f"{type(error).__name__}: "
    where = next((f" (see {word})" for word in logs.split() if word.endswith(".err")), "")
    return f"{name}{told}{where}"


def _pool(jobs: int, gpus: Sequence[str]) -> ProcessPoolExecutor:
    """Fresh processes that share the GPUs out and end with this one, which alone is told of Ctrl-C."""
    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for number in range(jobs):
        places.put(gpus[number % len(gpus)] if gpus else None)
    threads = str(max(1, processors() // jobs))
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(places, threads))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # processes inherit what is blocked
    try:
        for _ in range(jobs):
            pool.submit(os.getpid)  # starts a process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def _start(places, threads: str) -> None:
    """What a process of the pool does first."""
    gpu = places.get()
    os.environ.setdefault("OMP_NUM_THREADS", threads)  # read when torch is imported
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)  # the sweep has ended: nobody waits for this run

    threading.Thread(target=watch, daemon=True).start()


def run_all(experiment: Experiment, jobs: int | None = None) -> dict[str, list[Run]]:
    """Run what is not yet there: the finished runs, under the labels of the experiment (``sweep.sweep``)."""
    return regroup(experiment, sweep([config for configs in experiment.values() for config in configs], jobs))


def regroup(experiment: Experiment, runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs in the order of an experiment's configurations, under its labels."""
    remaining = iter(runs)
    return {label: [next(remaining) for _ in configs] for label, configs in experiment.items()}
