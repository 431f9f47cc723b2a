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
# # Ablation
#
# What does each part of IFCDSR contribute? The paper answers with three columns: the *original framework* uses IDs and
# the merged sequence alone; *+ image fusion* adds the image vectors; *+ multiple attention* adds separate attention for
# each domain. This page repeats them on the demo, and then asks the question that only a generated world can answer: do
# pictures help exactly when they should?

# %% tags=["parameters"]
source = "demo"  # of the ablation; it needs pictures
scenarios = "food_kitchen,movie_book"  # one or both
seeds = "0,1,2"
epochs = 0  # at most so many; 0: the book's number

# %%
from IPython.display import Markdown, display

from ifcdsr_core import comparisons, experiments, page, paper, plots
from ifcdsr_core.metrics import PROTOCOLS
from ifcdsr_core.scenario import DOMAIN_NAMES

names, seed_list = experiments.parse_scenarios(scenarios), experiments.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}

# %% [markdown]
# ## In the paper
#
# The paper reports one number a column, for one domain, without repeats.

# %% mystnb={"markdown_format": "myst"}
page.show(paper.PAPER_TABLE4,
            "Printed in the paper (its Table 4): ablation, MRR in percent.",
            "tab-paper-4")

# %% [markdown]
# ## Here
#
# The same three columns, as rows, for both domains of each scenario and for several seeds.

# %%
results = {}
for name in names:
    experiment = experiments.ablation(name, seed_list, source, **changes)
    results[name] = experiments.run_all(experiment)

# %% mystnb={"markdown_format": "myst"}
for protocol in PROTOCOLS:
    for name, runs in results.items():
        display(comparisons.comparison(runs, source, name, protocol,
                                  f"tab-ablation-{name}-{protocol}"))

# %% mystnb={"figure": {"caption": "MRR against 999 negatives of every run of the ablation; lines join runs of one seed, bars are means.", "name": "fig-ablation"}}
values = {page.title(source, name):
          comparisons.per_seed(runs, DOMAIN_NAMES[name], "sampled_999")
          for name, runs in results.items()}
plots.save_figure(plots.steps(values), "05_ablation")

# %% [markdown]
# Each step is compared with the one before it, seed by seed and case by case. Two things make such a difference
# uncertain: another seed would train another model, and other test cases would be easier or harder. *Noise* is twice
# the root of the sum of both squared standard errors; a smaller difference is called within noise.
# Where there is no difference at all, about one comparison in twenty still looks like one.

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    display(page.show(comparisons.step_gains(runs, DOMAIN_NAMES[name]),
                        f"{page.title(source, name)}: what each step adds to the "
                        "MRR against 999 negatives, in percentage points.",
                        f"tab-steps-{name}"))

# %% [markdown]
# ## The controls
#
# That a score rises when images are added is no proof that the images did it: the model has also become larger. In the
# demo the dial `visual_signal` sets how much of behaviour pictures explain. At 1 users choose by colour and pattern:
# image fusion should help (*positive control*). At 0 behaviour does not depend on anything a picture shows, while
# pictures and model stay the same: image fusion must not help (*negative control*).

# %%
controls = {}
for name in names:
    for signal in (0.0, 1.0):
        experiment = experiments.image_control(name, signal, seed_list, **changes)
        controls[name, signal] = experiments.run_all(experiment)
gains = comparisons.image_gains(controls)

# %% mystnb={"figure": {"caption": "Demo: what image fusion adds to the MRR against 999 negatives, where pictures explain nothing (left) and where they explain behaviour (right). Whiskers show the noise; grey: within it.", "name": "fig-control"}}
plots.save_figure(plots.image_control(gains), "05_image_control")

# %% mystnb={"markdown_format": "myst"}
page.show(gains, "Demo: gain of image fusion in MRR against 999 negatives, in "
            "percentage points.", "tab-control")

# %%
Markdown(comparisons.control_verdict(gains))
