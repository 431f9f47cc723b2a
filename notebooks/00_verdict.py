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
# is made from run files by a stated rule (`ifcdsr_core/claims.py`), with its number beside it.
#
# *Reproduced on the demo* means that the mechanism works where it was planted, and does not where it was not: the idea
# and this implementation are sound. It does not mean that it works on Amazon's data. *Cannot be checked here* says what
# it would take. The numbers are MRRs against 999 negatives in percent, differences of them in percentage points; what
# follows a ± is twice the root of the squared standard errors over seeds and over test cases.

# %% tags=["parameters"]
scenario = "food_kitchen"  # of the demo's runs; or movie_book
seeds = "0,1,2"
epochs = 0  # at most so many; 0: the book's number

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from ifcdsr_core import claims, comparisons, experiments, page, paper, tables
from ifcdsr_core.scenario import DOMAIN_NAMES

seed_list = experiments.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}
names = DOMAIN_NAMES[scenario]

# %% tags=["hide-input"]
images = {
    signal: experiments.run_all(experiments.image_control(scenario, signal, seed_list, **changes))
    for signal in (0.0, 1.0)
}
domains = {
    signal: experiments.run_all(experiments.domain_control(scenario, signal, seed_list, **changes))
    for signal in (0.0, 1.0)
}
titles = {
    signal: experiments.run_all(experiments.text_control(scenario, signal, seed_list, **changes))
    for signal in (0.0, 1.0)
}
ablation = experiments.run_all(experiments.ablation(scenario, seed_list, **changes))
demo = experiments.run_all(experiments.comparison(scenario, seed_list, **changes))
real = {name: runs for name in DOMAIN_NAMES if (runs := experiments.shipped_comparison("c2dsr", name))}
real_steps = {name: experiments.shipped(experiments.ablation(name, seed_list, "c2dsr")) for name in DOMAIN_NAMES}
real_texts = {
    page.title(source, "food_kitchen"): experiments.shipped(experiments.modalities("food_kitchen", range(10), source))
    for source in ("c2dsr", "llmcdsr")
}
counted = pd.concat(part["table1_against_paper"] for part in tables.statistics_of("c2dsr", DOMAIN_NAMES).values())

# %% tags=["hide-input"]
image_gains = comparisons.control_gains(images, comparisons.IMAGE_STEPS, names)
domain_gains = comparisons.control_gains(domains, comparisons.DOMAIN_STEPS, names)
text_gains = comparisons.control_gains(titles, comparisons.TEXT_STEPS, names)
judgements = [
    claims.outperforms(real, demo, scenario),
    claims.images(image_gains),
    claims.attention(domain_gains, real_steps),
    claims.crossing(domain_gains),
    claims.balance(domain_gains, larger=names[1]),
    claims.table4(ablation, scenario),
    claims.partition(counted),
    claims.successor(text_gains, real_texts),
]

# %% mystnb={"markdown_format": "myst"} tags=["hide-input"]
claims.report(judgements)

# %% [markdown]
# ## What the papers leave out
#
# A model that learns has to beat one that only counts. The papers print no such row. On their own test sets:

# %%
for name, runs in real.items():
    printed = paper.PAPER_COMPARISON[name]
    display(Markdown(comparisons.baselines_verdict(runs, printed)))

# %% [markdown]
# Which of the paper's silent choices matter, and how much, is the subject of {doc}`05b_ledger`.

# %%
comparisons.origin(
    [
        run
        for part in (*images.values(), *domains.values(), *titles.values(), ablation, demo)
        for group in part.values()
        for run in group
    ],
    f"sweep control --scenario {scenario}",
)
