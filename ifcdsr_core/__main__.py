"""The command line: ``python -m ifcdsr_core <command>``, thin over the functions the notebooks call."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # a module of the folder that a user works in, random.py, must not take the place of ours
    sys.path[:] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))] + [
        folder for folder in sys.path if os.path.abspath(folder) != os.getcwd()
    ]

from ifcdsr_core import interrupts

if __name__ == "__main__":
    interrupts.end_soon()  # before anything else is imported

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ifcdsr_core.errors import InputError, choose, in_one_line, require
from ifcdsr_core.settings import SEEDS

if TYPE_CHECKING:
    from ifcdsr_core.runs.config import RunConfig
    from ifcdsr_core.runs.store import Run

_EXAMPLES = """examples:
  python -m ifcdsr_core prepare --source demo --scenario movie_book
  python -m ifcdsr_core download --source amazon --scenario food_kitchen --dry-run
  python -m ifcdsr_core pictures --source amazon --scenario food_kitchen
  python -m ifcdsr_core embed   --source demo --scenario movie_book
  python -m ifcdsr_core embed   --scenario movie_book --modality text --text rules --encoder small_clip
  python -m ifcdsr_core enhance --source llmcdsr --scenario food_kitchen --dry-run
  python -m ifcdsr_core train   --scenario movie_book --model ifcdsr --seed 1 --epochs 30
  python -m ifcdsr_core train   --scenario movie_book --set alpha=0.5 --set temperature=0.1
  python -m ifcdsr_core train   --source demo --source-option visual_signal=0.0
  python -m ifcdsr_core train   --source c2dsr --train-on valid --set image_fusion=false
  python -m ifcdsr_core evaluate data/runs/<folder>
  python -m ifcdsr_core export  data/runs/<folder> --to explorer.html
  python -m ifcdsr_core runs
  python -m ifcdsr_core sweep comparison --scenario movie_book --seeds 0,1,2,3,4
  python -m ifcdsr_core sweep search --scenario food_kitchen --models sasrec,ifcdsr --keep
  python -m ifcdsr_core sweep comparison --source c2dsr --gpus 0,1
  python -m ifcdsr_core sweep my_runs.json --cluster slurm --cluster-option slurm_partition=gpu

Data go to data/ of the checkout, or to the folder named by IFCDSR_DATA. Published files are read from the folder named
by IFCDSR_MIRROR if it is set, else downloaded and verified."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if it succeeded; 1 after printing one line ``error: ...``, if its input was wrong or the operating system
        refused something; 130 or 143 after SIGINT or SIGTERM; 141 where nobody reads the output to its end.
    """
    try:
        options = _parser().parse_args(arguments)
        options.command(options)
        _flush()
    except BrokenPipeError:
        _drop_output()
        return 141
    except KeyboardInterrupt as error:
        interrupts.say()
        return interrupts.exit_code(error)
    except Exception as error:
        line = in_one_line(error)
        if line is None:  # a fault of ours
            raise
        _drop_output()
        line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: repr(found[0])[1:-1], line)
        print(f"error: {line[:2000]}", file=sys.stderr)
        return 1
    return 0


def _flush() -> None:
    if sys.stdout is not None:  # it may be closed
        sys.stdout.flush()


def _drop_output() -> None:
    """Print what can still be printed; where it can't, let it go without a complaint at the end of Python."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    from ifcdsr_core.features.llm_endpoint import Limits
    from ifcdsr_core.runs.config import RunConfig
    from ifcdsr_core.sources import SOURCES
    from ifcdsr_core.sources.download.pictures import PictureLimits

    parser = _Parser(
        prog="python -m ifcdsr_core",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=_Parser)

    data = _Parser(add_help=False)
    data.add_argument("--source", default="demo", help=f"one of {', '.join(SOURCES)} (default: %(default)s)")
    data.add_argument(
        "--scenario",
        default="food_kitchen",
        help="food_kitchen, movie_book, or beauty_electronics of abxi (default: %(default)s)",
    )
    data.add_argument(
        "--source-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the source, such as visual_signal=0.0; may be repeated",
    )

    prepare = commands.add_parser("prepare", parents=[data], help="build a scenario")
    prepare.add_argument("--force", action="store_true", help="build it again even if it is there")
    prepare.set_defaults(command=_prepare)

    embed = commands.add_parser("embed", parents=[data], help="embed a scenario's pictures or texts, frozen")
    embed.add_argument("--modality", default="image", help="image or text (default: %(default)s)")
    embed.add_argument(
        "--text",
        default="title",
        help="with --modality text: title, rules (the demo's), or llm:<model> (default: %(default)s)",
    )
    embed.add_argument(
        "--encoder",
        default="",
        help="small_clip, or <open_clip model>/<weights>, such as "
        "ViT-B-32-quickgelu/openai; for texts lexical as well (default: small_clip for pictures, "
        "lexical for texts)",
    )
    embed.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    embed.add_argument("--batch-size", type=int, default=256, help="pictures or texts at a time (default: %(default)s)")
    embed.add_argument(
        "--precision", default="float32", help="float32, float16 or bfloat16, of pictures (default: %(default)s)"
    )
    embed.add_argument(
        "--workers",
        type=int,
        default=None,
        help="processes that decode pictures (default: one a processor with a GPU, else none)",
    )
    embed.set_defaults(command=_embed)

    download = commands.add_parser(
        "download",
        parents=[data],
        help="download the raw files of a scenario of amazon; what is there of a file is continued",
    )
    download.add_argument("--dry-run", action="store_true", help="print files, sizes and free space only")
    download.set_defaults(command=_download)

    pictures = commands.add_parser(
        "pictures",
        parents=[data],
        help="download the pictures of a prepared scenario's "
        "items; what the manifest of an earlier call knows is not asked again",
    )
    pictures.add_argument("--limit", type=int, default=0, help="largest number of items to ask for (default: all)")
    pictures.add_argument(
        "--retry",
        default="",
        metavar="KINDS",
        help="ask again also for failures of these kinds, "
        "such as not_found,denied; temporary ones are always asked again",
    )
    pictures.add_argument(
        "--allow-private", action="store_true", help="also ask addresses that are not of the public internet"
    )
    _add_settings(pictures, PictureLimits)
    pictures.set_defaults(command=_pictures)

    enhance = commands.add_parser(
        "enhance",
        parents=[data],
        help="have an LLM enhance a scenario's titles; what the "
        "variables IFCDSR_LLM_URL, IFCDSR_LLM_MODEL and IFCDSR_LLM_KEY name is asked",
    )
    enhance.add_argument("--dry-run", action="store_true", help="print the estimate only; needs no key")
    enhance.add_argument("--keep", action="store_true", help="with --dry-run: keep the estimate in data/results")
    enhance.add_argument(
        "--limit",
        type=int,
        default=0,
        help="keep to the first so many different titles of the scenario, answered or not (default: all)",
    )
    enhance.add_argument("--retry-failures", action="store_true", help="ask again for items that were given up")
    _add_settings(enhance, Limits)
    enhance.set_defaults(command=_enhance)

    train = commands.add_parser("train", help="train and test one configuration, or find its finished run")
    _add_settings(train, RunConfig)
    train.add_argument(
        "--source-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the source; may be repeated",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the model, such as alpha=0.5 or image_fusion=false; may be repeated",
    )
    train.add_argument("--force", action="store_true", help="train again even if a finished run is there")
    train.set_defaults(command=_train)

    sweep = commands.add_parser(
        "sweep", parents=[data], help="carry out a list of configurations, skipping what is done"
    )
    sweep.add_argument(
        "what",
        help="comparison, ablation, domains, control, readings, sensitivity, modalities, text_encoders, text, search, "
        "passed_over, patience, recipes, or a JSON file with a list of configurations as in the config.json of a run "
        "(source and its options, scenario, seeds and models are then the file's)",
    )
    sweep.add_argument(
        "--seeds",
        default=",".join(map(str, SEEDS)),
        help="separated by commas (default: %(default)s); a search takes the first",
    )
    sweep.add_argument("--models", default="", help="separated by commas (default: all)")
    sweep.add_argument("--epochs", type=int, default=0, help="largest number of epochs (default: the book's)")
    sweep.add_argument(
        "--jobs",
        type=int,
        default=None,
        help="configurations at a time (default: one per GPU named, else one per processor)",
    )
    sweep.add_argument("--gpus", default="", help="numbers of the GPUs to share out, such as 0,1")
    sweep.add_argument("--cluster", default="", help="slurm, or local for processes that act like its jobs")
    sweep.add_argument(
        "--cluster-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of submitit's executor, such as timeout_min=120; may be repeated",
    )
    sweep.add_argument(
        "--recompute", action="store_true", help="do not take runs shipped with the checkout as finished"
    )
    sweep.add_argument(
        "--keep",
        action="store_true",
        help="with search: keep its outcome in data/results/search, from where the book takes its settings",
    )
    sweep.add_argument("--ship", action="store_true", help="copy the runs to data/results, as the command ship does")
    sweep.set_defaults(command=_sweep)

    evaluate = commands.add_parser("evaluate", help="score a run's test cases again with its saved weights")
    evaluate.add_argument("folder", type=Path, help="run folder")
    evaluate.set_defaults(command=_evaluate)

    runs = commands.add_parser("runs", help="list the finished runs")
    runs.set_defaults(command=_runs)

    ship = commands.add_parser("ship", help="copy a run to data/results, without weights, users and items")
    ship.add_argument("folder", type=Path, help="run folder")
    ship.add_argument("--to", type=Path, default=None, help="another folder than data/results/runs")
    ship.set_defaults(command=_ship)

    export = commands.add_parser("export", help="write IFCDSR runs as one HTML page in which the models run")
    export.add_argument("folders", type=Path, nargs="+", metavar="folder", help="run folder, with weights")
    export.add_argument("--to", type=Path, default=Path("explorer.html"), help="file to write (default: %(default)s)")
    export.set_defaults(command=_export)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """An option for every field of a dataclass that has a help text, those of its own class first."""
    for spec in sorted(_optional(settings), key=lambda spec: spec.name not in settings.__annotations__):
        parser.add_argument(
            "--" + spec.name.replace("_", "-"),
            default=spec.default,
            type={"int": int, "float": float}.get(spec.type, str),
            help=f"{spec.metadata['help']} (default: %(default)s)",
        )


def _settings(options, settings: type, **more):
    """The dataclass with what was given for these fields."""
    return settings(**{spec.name: getattr(options, spec.name) for spec in _optional(settings)}, **more)


def _optional(settings: type) -> list[dataclasses.Field]:
    return [spec for spec in dataclasses.fields(settings) if spec.metadata.get("help")]


def _prepare(options) -> None:
    from ifcdsr_core.sources import prepare

    scenario = prepare(options.source, options.scenario, force=options.force, **_source_options(options))
    x, y = scenario.domain_names
    counts = scenario.sequences["split"].value_counts()
    print(
        f"{scenario.folder}\n{scenario.num_items_x} items of {x}, {scenario.num_items_y} of {y}; sequences: "
        + ", ".join(f"{counts.get(split, 0)} {split}" for split in ("train", "valid", "test"))
    )


def _download(options) -> None:
    from ifcdsr_core.paths import data_dir
    from ifcdsr_core.sources import complete_options, source_module
    from ifcdsr_core.sources.download import published
    from ifcdsr_core.sources.download.resumable import fetch_all

    module = source_module(options.source)
    if not hasattr(module, "raw_files"):
        raise InputError(
            f"source {options.source!r} needs no download of its own, prepare makes or fetches what it reads: "
            "choose amazon"
        )
    chosen = complete_options(options.source, _assignments(options.source_option))
    release = chosen["release"]
    table = module.raw_files(release, options.scenario, chosen["reviews"])
    if any(address is None for _, address, *_ in table):
        raise InputError(f"release {release!r} needs no download: prepare makes it")
    mirror = published.mirror_folder()
    place = Path(options.source) / release
    fetch_all(
        table,
        data_dir() / place,
        elsewhere=mirror / place if mirror else None,
        dry_run=options.dry_run,
        report=lambda line: print(line, flush=True),
    )


def _pictures(options) -> None:
    from ifcdsr_core.paths import picture_store
    from ifcdsr_core.sources import prepare
    from ifcdsr_core.sources.download.pictures import TEMPORARY, PictureLimits, download_images, with_images

    limits = _settings(options, PictureLimits)
    scenario = prepare(options.source, options.scenario, **_source_options(options))
    again = [kind.strip() for kind in options.retry.split(",") if kind.strip()]
    store = picture_store(scenario.source, scenario.provenance["options"].get("release", scenario.name))
    table = download_images(
        scenario.items,
        store,
        limits,
        retry_failures=[*TEMPORARY, *again],
        limit=options.limit,
        allow_private=options.allow_private,
    )
    with_pictures = int(with_images(scenario, store).items["image"].notna().sum())
    print(
        f"all of {store}:\n{table.to_string(index=False)}\n"
        f"{with_pictures} of {scenario.num_items} items have a picture in {scenario.folder / 'images'}"
    )


def _embed(options) -> None:
    from ifcdsr_core import processes
    from ifcdsr_core.sources import prepare

    if choose("modality", options.modality, ("image", "text")) == "image" and options.text != "title":
        raise InputError("--text goes with --modality text")
    chosen = {"device": options.device, "batch_size": options.batch_size}
    chosen |= {"encoder": options.encoder} if options.encoder else {}
    if options.modality == "text":
        if options.workers is not None or options.precision != "float32" or processes.started() > 1:
            raise InputError("--workers, --precision and torchrun go with --modality image")
        scenario = prepare(options.source, options.scenario, **_source_options(options))
        from ifcdsr_core.features.texts import embed_texts

        features = embed_texts(scenario, options.text, **chosen)
        without = f"without a text or a known word, {features.long} encoded in parts as they are long"
        if features.unknown:
            without += f", {features.unknown:.1%} of all words unknown"
    else:
        with processes.joined():
            scenario = processes.first_alone(
                lambda: prepare(options.source, options.scenario, **_source_options(options))
            )
            from ifcdsr_core.features.images import embed_images

            features = embed_images(scenario, **chosen, precision=options.precision, workers=options.workers)
            without = "without a usable picture"
            if processes.rank():
                return
    print(
        f"{features.matrix.shape[0]} items x {features.matrix.shape[1]} by {features.encoder}, "
        f"{int(features.missing.sum())} {without}; fingerprint {features.fingerprint[:12]}"
    )


def _enhance(options) -> None:
    from ifcdsr_core.features.enhanced_titles import enhance, estimate, keep_estimate, titles_of
    from ifcdsr_core.features.llm_endpoint import Endpoint, Limits
    from ifcdsr_core.sources import prepare

    if options.keep and (options.limit or not options.dry_run):
        raise InputError("--keep goes with --dry-run, and without --limit")
    endpoint = Endpoint.from_environment(needs_key=not options.dry_run)
    limits = _settings(options, Limits)
    scenario = prepare(options.source, options.scenario, **_source_options(options))
    titles, untitled = titles_of(scenario)
    print(
        f"{endpoint.model} at {endpoint.place}: {len(titles)} different titles; {untitled} of {scenario.num_items} "
        "items have none",
        flush=True,
    )
    chosen = {"limit": options.limit, "retry_failures": options.retry_failures}
    if options.dry_run:
        expected = estimate(titles, endpoint.model, limits, **chosen)
        print(expected)
        if options.keep:
            print(keep_estimate(expected, scenario, untitled))
        return
    outcome = enhance(titles, endpoint, limits, **chosen, report=lambda line: print(line, file=sys.stderr, flush=True))
    if outcome.stopped:
        raise InputError(outcome.stopped)
    if outcome.failed and not outcome.enhanced:
        raise InputError(
            f"no title has a usable answer, {outcome.failed} failed ({outcome.useless or 'in earlier runs'}): choose "
            "another IFCDSR_LLM_MODEL, or ask again with --retry-failures"
        )
    print(f"{outcome.enhanced} items enhanced, {outcome.failed} failed, {outcome.left} left")


def _train(options) -> None:
    from ifcdsr_core import processes
    from ifcdsr_core.runs.config import RunConfig

    config = _settings(
        options, RunConfig, source_options=_assignments(options.source_option), model_options=_assignments(options.set)
    )
    from ifcdsr_core.runs.run import run

    with processes.joined():

        def say(line: str, to=sys.stderr) -> None:
            if processes.rank() == 0:
                print(line, file=to, flush=True)

        finished = run(config, force=options.force, report=say)
        say(f"{finished.folder}\n{_percent(finished.metrics)}", sys.stdout)


def _sweep(options) -> None:
    from ifcdsr_core.models import MODELS
    from ifcdsr_core.sources import SOURCES

    choose("source", options.source, SOURCES)  # first of all: what follows imports pandas
    models = [choose("model", name.strip(), MODELS) for name in options.models.split(",") if name.strip()]
    from ifcdsr_core.book.parameters import parse_seeds
    from ifcdsr_core.runs import search
    from ifcdsr_core.runs.lists import named_list
    from ifcdsr_core.runs.store import runs_dir, ship
    from ifcdsr_core.runs.sweep import submit, sweep

    if options.keep and (options.what != "search" or options.source_option):
        raise InputError(
            "--keep goes with search, and without --source-option: what it keeps is for the source as it is"
        )
    if options.ship and options.what == "search":
        raise InputError("--ship ships what tables show: of a search its outcome is kept, with --keep")
    gpus = [number.strip() for number in options.gpus.split(",") if number.strip()]
    require(all(re.fullmatch("[0-9]{1,4}", number) for number in gpus), "--gpus", options.gpus, "numbers such as 0,1")
    configs = named_list(
        options.what,
        options.scenario,
        options.source,
        parse_seeds(options.seeds),
        models,
        source_options=_source_options(options),
        **({"epochs": options.epochs} if options.epochs else {}),
        **({"device": "cuda"} if gpus else {}),
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def carry_out(waiting: Sequence[RunConfig]) -> list[Run | None]:
        how = {"shipped": not options.recompute, "may_diverge": options.what == "search", "report": say}
        if not options.cluster:
            return sweep(waiting, options.jobs, gpus, **how)
        given = _assignments(options.cluster_option)
        return submit(waiting, options.cluster, given, **how)

    if options.what == "search":
        outcome = search.outcome(search.halve(configs, carry_out))
        if options.keep:
            search.keep(outcome, options.source, options.scenario)
        print(outcome.to_string(index=False))
        return
    for finished in carry_out(configs):
        folder = ship(finished) if options.ship and finished.folder.parent == runs_dir() else finished.folder
        mrr = " ".join(f"{domain}: {100 * value:5.2f}" for domain, value in finished.mrr().items())
        print(f"{folder}  MRR sampled_999 (%)  {mrr}")


def _evaluate(options) -> None:
    from ifcdsr_core.metrics import summarise
    from ifcdsr_core.runs.store import Run
    from ifcdsr_core.settings import PROTOCOLS

    finished = Run.load(options.folder)
    from ifcdsr_core.runs.assembly import evaluate

    anew, stored = evaluate(finished), finished.ranks
    same = all((anew[protocol] == stored[protocol]).all() for protocol in PROTOCOLS if protocol in stored)
    print(f"{_percent(summarise(anew))}\nranks {'equal' if same else 'differ from'} those of ranks.parquet")


def _runs(options) -> None:
    from ifcdsr_core.runs.store import Run, runs_dir

    for folder in sorted(path for path in runs_dir().glob("[!.]*") if path.is_dir()):
        try:
            run = Run.load(folder)
        except InputError as error:
            print(f"passed over: {error}", file=sys.stderr)
            continue
        mrr = " ".join(f"{domain}: {100 * value:5.2f}" for domain, value in run.mrr().items())
        print(f"{folder.name}  MRR sampled_999 (%)  {mrr}")


def _ship(options) -> None:
    from ifcdsr_core.runs.store import Run, ship

    print(ship(Run.load(options.folder), options.to))


def _export(options) -> None:
    from ifcdsr_core.book.explorer import page

    written = page(options.folders, options.to)
    print(f"{written.resolve()}  {written.stat().st_size / 1e6:.1f} MB")


def _percent(metrics) -> str:
    table = metrics.copy()
    table[table.columns[3:]] = (100 * table[table.columns[3:]]).round(2)
    return table.to_string(index=False)


def _source_options(options) -> dict:
    """The options of the source, checked: what it does not have must not be taken for an argument of ours."""
    from ifcdsr_core.sources import complete_options

    if not (given := _assignments(options.source_option)):
        return {}
    return {name: value for name, value in complete_options(options.source, given).items() if name in given}


def _assignments(pairs: list[str]) -> dict:
    """``["alpha=0.5", "image_fusion=false"]`` as a dict; values are JSON, or text where they are not."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r:.80} is not NAME=VALUE")
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):
            values[name] = text
    return values


if __name__ == "__main__":
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may not be text in this locale
    code = main()
    if code > 128:
        interrupts.leave(code)
    sys.exit(code)
