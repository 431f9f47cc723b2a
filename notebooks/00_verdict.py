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
# # The verdict
#
# What the papers claim, claim by claim, and what the runs of this book say of it. No verdict is written by hand: each
# follows from run files by a stated rule (`ifcdsr_core/book/pages/verdict.py`), with its numbers beside it.
#
# *Reproduced on the demo* means that what is claimed happens there, beyond noise and in both domains; for pictures also
# that it does not happen where they were made to explain nothing. It does not mean that it works on Amazon's data.
# *Without images* marks data that have no pictures: IFCDSR runs there on IDs alone, which is a part of what is claimed.
# *Cannot be checked here* says what a check would need. The numbers are MRRs against 999 negatives in percent,
# differences of them in percentage points. What follows a ± is half the width of a 95 % interval over seeds and test
# cases ({doc}`05_ablation`); where only one seed was run, over test cases alone.

# %% tags=["parameters"]
scenario = "food_kitchen"  # of the demo's runs; or movie_book
seeds = "0,1,2,3,4"
epochs = 0  # at most this many; 0: the book's number

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from ifcdsr_core.analysis import paired, paper
from ifcdsr_core.book import evidence, markup, parameters
from ifcdsr_core.book.pages import data_statistics, verdict
from ifcdsr_core.runs import lists, sweep
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources import c2dsr

seed_list = parameters.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}

# %% tags=["hide-input"]
images = {signal: sweep.run_all(lists.image_control(scenario, signal, seed_list, **changes)) for signal in (0.0, 1.0)}
domains = {signal: sweep.run_all(lists.domain_control(scenario, signal, seed_list, **changes)) for signal in (0.0, 1.0)}
titles = {signal: sweep.run_all(lists.text_control(scenario, signal, seed_list, **changes)) for signal in (0.0, 1.0)}
ablation = sweep.run_all(lists.ablation(scenario, seed_list, **changes))
demo = sweep.run_all(lists.comparison(scenario, seed_list, **changes))
real = lists.shipped_comparisons("c2dsr")
others = {
    (source, name): runs for source in ("abxi", "llmcdsr") for name, runs in lists.shipped_comparisons(source).items()
}
real_domains = {
    markup.data_title(*data): paired.arm_gains(runs, paired.DOMAIN_STEPS, DOMAIN_NAMES[data[1]])
    for data, runs in lists.shipped_arms(lists.domains, "merged sequence alone").items()
}
real_titles = {
    markup.data_title(*data): runs
    for data, runs in lists.shipped_arms(lists.text_encoders, "ID + other items' text").items()
}
counted = pd.concat(
    part["table1_against_paper"] for part in data_statistics.statistics_of("c2dsr", c2dsr.SCENARIOS).values()
)

# %% tags=["hide-input"]
names = DOMAIN_NAMES[scenario]
image_gains = paired.control_gains(images, paired.IMAGE_STEPS, names)
domain_gains = paired.control_gains(domains, paired.DOMAIN_STEPS, names)
text_gains = paired.control_gains(titles, paired.TEXT_STEPS, names)
judgements = [
    verdict.outperforms(real, demo, scenario, others),
    verdict.images(image_gains),
    verdict.attention(domain_gains, real_domains),
    verdict.crossing(domain_gains, real_domains),
    verdict.balance(domain_gains, larger=names[1]),
    verdict.table4(ablation, scenario),
    verdict.partition(counted),
    verdict.successor(text_gains, real_titles),
]

# %% mystnb={"markdown_format": "myst"} tags=["hide-input"]
verdict.report(judgements)

# %% [markdown]
# ## What the papers leave out
#
# A model that learns should beat one that only counts. The papers print no such row. On their own test sets:

# %%
for name, runs in real.items():
    printed = paper.PAPER_COMPARISON[name]
    display(Markdown(evidence.baselines_verdict(runs, printed)))

# %% [markdown]
# Which of the choices that the paper does not state matter, and how much, is the subject of {doc}`05b_ledger`.

# %%
evidence.origin(
    [
        run
        for part in (*images.values(), *domains.values(), *titles.values(), ablation, demo)
        for group in part.values()
        for run in group
    ],
    f"sweep control --scenario {scenario}",
)
