# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: all,-papermill,-execution,-trusted
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version,-papermill
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From raw files to Table 1
#
# "We re-partitioned four e-commerce datasets": with this sentence the papers' data begin, and nobody published the
# step. This page goes the whole way, from the files that Amazon's reviews are published in to sequences, pictures, CLIP
# vectors and a trained model, and counts what each step leaves.
#
# It runs on a **sample that is made up**: the demo's world, written in the format of the 2014 release, with the faults
# that such files have. Its numbers say nothing about Amazon. With the real files at hand
# ({ref}`how to get them <raw-files>`), the same page shows the real thing: set `release` to `2014` or `2023`.

# %% tags=["parameters"]
scenario = "food_kitchen"  # or movie_book
release = "sample"  # or 2014, 2023, once they are downloaded
encoder = "small_clip"  # or such as ViT-B-32-quickgelu/openai
epochs = 8
learning_rate = 0.01
precision = "bfloat16"  # where the processor has such products, else float32 all the same

# %%
from ifcdsr_core.analysis import counts
from ifcdsr_core.book import figures, markup
from ifcdsr_core.book.pages import clip_embedding, data_statistics, raw_files, training
from ifcdsr_core.features.images import embed_images
from ifcdsr_core.runs import lists
from ifcdsr_core.runs.run import run
from ifcdsr_core.sources import prepare

world = prepare("amazon", scenario, release=release)
title = f"{markup.data_title('amazon', scenario)}, release {release}"

# %% [markdown]
# ## The files
#
# A scenario needs four: the reviews of two categories, and the metadata of their items. A review is a user, an item and
# a day, or in the 2023 release a millisecond. Metadata of 2014 look like JSON but are Python literals. It is tempting
# to `eval` them, and with them whatever anybody has written into a product's description. Here nothing in a file is
# ever executed.

# %% mystnb={"markdown_format": "myst"}
markup.show(raw_files.lines(world), f"{title}: what was read.", "tab-raw-lines")

# %% [markdown]
# A line that can't be used stops nothing, and is not lost silently: it is counted by what is wrong with it.

# %% mystnb={"markdown_format": "myst"}
markup.show(raw_files.bad_lines(world), "Lines that could not be used.", "tab-bad-lines")

# %% [markdown]
# ## The rules
#
# The papers name some of the rules, but rarely their order or how they count. Each is a parameter here
# (`--source-option windows=pieces`), with the defaults that the released files of C2DSR {cite:p}`c2dsr` support: their
# sequences, for instance, are *sliding* windows, which overlap. `ifcdsr_core/sources/amazon/partition.py` explains
# each rule and what was seen in those files.

# %% mystnb={"markdown_format": "myst"} tags=["hide-output"]
markup.show(raw_files.rules(world), "The rules of the re-partition.", "tab-rules")

# %% [markdown]
# How is it known that the windows slide? Some Food-Kitchen users have several sequences, all of them in released files.
# The rule is applied to the interactions that these hold together, and should give the same sequences back:

# %% mystnb={"markdown_format": "myst"}
markup.show(
    raw_files.shown_rebuilt(),
    "C2DSR's released sequences, rebuilt by each rule for "
    "windows: users of whom exactly their sequences come "
    "back, and sequences that do.",
    "tab-rebuilt",
)

# %% [markdown]
# The table is shipped; `raw_files.keep_rebuilt()` makes it anew from the published files.
# {doc}`01_data_statistics` rebuilds Food-Kitchen's missing training file by the same rule, from files of other people.
#
# What is left after each step, from the first line to the last sequence:

# %% mystnb={"markdown_format": "myst"}
funnel = raw_files.funnel(world)
markup.show(funnel, f"{title}: what each step leaves.", "tab-funnel")

# %% mystnb={"figure": {"caption": "What each step of the re-partition leaves of the interactions, and then of the sequences.", "name": "fig-funnel"}}
figures.save_figure(raw_files.funnel_figure(funnel), f"01b_{release}_{scenario}")

# %% [markdown]
# ## Items of the same time
#
# Times of the 2014 release, and of this sample, are days. What a user bought on one day has no order, so an order is
# drawn from a seed (rule `ties`). If they were sorted instead, X before Y and each by name, the target would always be
# the last one in the sorting, and a model that knows no more than that would beat chance, on data without any pattern.
# Targets that are one of several items of their day (in the 2023 release, of their second):

# %% mystnb={"markdown_format": "myst"}
markup.show(raw_files.ties(world), f"{title}: targets that the draw chose.", "tab-raw-ties")

# %% [markdown]
# ## Does training know the answers?
#
# A user's latest sequence is held out, and its last item is the target. Sequences overlap, so the items *before* the
# target may be in a training sequence of the same user. What must not be there is the target itself, or anything the
# user did later. As long as the latest sequence is held out, this cannot happen; it is counted all the same.

# %% mystnb={"markdown_format": "myst"}
markup.show(raw_files.leaks(world), f"{title}: what training knows of what is held out.", "tab-leaks")

# %% [markdown]
# ## Table 1, and what other rules make of it
#
# These are the sequences that a model is trained and tested on, counted as in the paper's Table 1:

# %% mystnb={"markdown_format": "myst"}
numbers = counts.read_tables(counts.summary_record(world))
of_raw_files = {markup.data_title("amazon", scenario): numbers}
markup.show(data_statistics.data_table(of_raw_files, "table1"), f"{title}: items and sequences.", "tab-raw-table1")

# %% [markdown]
# How much of it is due to choices that a paper may not even mention? One rule changed at a time:

# %% mystnb={"markdown_format": "myst"}
markup.show(
    raw_files.other_rules(world),
    f"{title}: Table 1 with one rule changed. With the files of 2014 the last row is the paper's.",
    "tab-other-rules",
)

# %% [markdown]
# ## Pictures
#
# The metadata tell where each picture is. The sample's shop is opened for this page, on this machine, and answers as
# shops do: with pictures, with "not found", with a web page that calls itself a picture. Every item ends with a picture
# or with a named reason, and no address is asked twice.

# %% mystnb={"markdown_format": "myst"}
world, outcomes = raw_files.fetch_pictures(world)
markup.show(outcomes, f"{title}: what became of the items' pictures.", "tab-picture-outcomes")

# %% [markdown]
# The frozen CLIP makes a vector of each. Items without a usable picture get the mean of their domain's.

# %% mystnb={"markdown_format": "myst"}
features = embed_images(world, encoder)
markup.show(
    clip_embedding.feature_counts(world, features.missing),
    f"{title}: vectors of {features.matrix.shape[1]} numbers by {features.encoder}.",
    "tab-raw-vectors",
)

# %% [markdown]
# ## A model
#
# And that is all a model needs. A short training of IFCDSR shows that the chain holds; {doc}`04_comparison` has the
# long ones. (The sample's Food has fewer than a thousand items, so that all protocols rank among the same; its Kitchen
# has a few more.)

# %%
(config,) = lists.configurations(
    "ifcdsr",
    scenario,
    [0],
    "amazon",
    encoder=encoder,
    source_options={"release": release},
    epochs=epochs,
    precision=precision,
    learning_rate=learning_rate,
)
finished = run(config)

# %% mystnb={"markdown_format": "myst"}
metrics = training.run_metrics(finished, world.domain_names)
markup.show(
    metrics.drop(columns=["HR@1", "HR@5", "HR@10"]),
    f"{title}: test metrics of IFCDSR in percent, seed 0.",
    "tab-raw-metrics",
)

# %% [markdown]
# ## The real thing
#
# The same on the command line, with the files of 2014 (here for Food-Kitchen; `movie_book` gives Movie-Book):
#
# ```bash
# python -m ifcdsr_core download --source amazon --scenario food_kitchen
# python -m ifcdsr_core prepare  --source amazon --scenario food_kitchen
# python -m ifcdsr_core pictures --source amazon --scenario food_kitchen
# python -m ifcdsr_core embed    --source amazon --scenario food_kitchen \
#   --encoder ViT-B-32-quickgelu/openai --device cuda --precision float16
# python -m ifcdsr_core train    --source amazon --scenario food_kitchen \
#   --encoder ViT-B-32-quickgelu/openai --device cuda
# ```
#
# Each can be killed and continues where it stopped; `embed` and `train` also run under `torchrun`, on several GPUs. The
# last table says what they have to move, from the published numbers of ratings, the recorded sizes of files and the
# paper's numbers of items; and how long that takes: pictures at the limit of 25 a second that a download keeps to, the
# rest at the speeds of `benchmarks/`, measured on two processors, without a GPU. **The real files were not available
# where this book was made**, so these times were never measured as a whole.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    raw_files.costs(),
    "The 2014 release: what has to be moved, and how long it takes at the speeds measured.",
    "tab-raw-costs",
)

# %% [markdown]
# The re-partition streams, so its memory does not grow with the files as that of a plain version does. The large CLIP
# spends most of its time in the model itself (on two processors, without a GPU), so there is little to gain around it;
# decoding alone is many times as fast (`data/results/benchmarks/embedding.json`). A GPU is what would help. What was
# measured, beside plain versions, stands in {doc}`07_what_it_costs`.
