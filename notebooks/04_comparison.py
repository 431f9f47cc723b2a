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
# # Comparison
#
# Does IFCDSR recommend better than its rivals? Two answers, kept apart. The first stands on **the paper's own test
# sets**, where our numbers may be read beside the printed ones. The second stands on **the demo**, a generated world
# that everybody can run; its numbers say something about the models and nothing about the paper's numbers.

# %% tags=["parameters"]
source = "demo"  # of the runs made on this page
scenarios = "food_kitchen,movie_book"  # one or both
seeds = "0,1,2"
epochs = 0  # at most so many; 0: the book's number

# %%
from IPython.display import display

from ifcdsr_core import experiments, plots, tables
from ifcdsr_core.metrics import PROTOCOLS
from ifcdsr_core.scenario import DOMAIN_NAMES

names, seed_list = experiments.parse_scenarios(scenarios), experiments.parse_seeds(seeds)
changes = {"epochs": epochs} if epochs else {}

# %% [markdown]
# ## The paper's own test sets
#
# Tables 2 and 3 of the paper, as printed. The paper does not say among which candidates it ranks. Its rows of the
# rivals are those of C2DSR {cite:p}`c2dsr`, which ranks the target among 999 random items of its domain; so that is the
# protocol to compare with.

# %% mystnb={"markdown_format": "myst"}
tables.show(tables.PAPER_TABLE2, "Printed in the paper (its Table 2): "
            "Food-Kitchen, test metrics in percent.", "tab-paper-2", best=True)

# %% mystnb={"markdown_format": "myst"}
tables.show(tables.PAPER_TABLE3, "Printed in the paper (its Table 3): "
            "Movie-Book, test metrics in percent.", "tab-paper-3", best=True)

# %% [markdown]
# Our own runs use the same test sequences. Two things differ, and the captions say how much: where the file of training
# sequences can't be had, the validation sequences are trained on instead, and there are no pictures of these items, so
# that IFCDSR runs without them. Both are handicaps; what can be compared is the order of magnitude and the order of the
# models.

# %%
shipped = {name: runs for name in DOMAIN_NAMES
           if (runs := tables.shipped_runs("c2dsr", name))}
tables.inventory(shipped)

# %% mystnb={"markdown_format": "myst"}
for protocol in PROTOCOLS:
    for name, runs in shipped.items():
        display(tables.comparison(runs, "c2dsr", name, protocol,
                                  f"tab-shipped-{name}-{protocol}"))

# %% mystnb={"markdown_format": "myst"}
for name, runs in shipped.items():
    display(tables.show(tables.beside_paper(runs, name),
                        f"{tables.title('c2dsr', name)}: MRR in percent, here and in "
                        "the paper, on the same test sequences but after training on "
                        "other ones.", f"tab-beside-{name}"))

# %% mystnb={"figure": {"caption": "MRR against 999 negatives on the paper's test sets: every run of ours, and the printed value of the same model. Training data differ.", "name": "fig-shipped"}}
values = {tables.title("c2dsr", name):
          tables.per_seed(runs, DOMAIN_NAMES[name], "sampled_999")
          for name, runs in shipped.items()}
printed = {tables.title("c2dsr", name): table
           for name, table in tables.PAPER_COMPARISON.items()}
plots.save_figure(plots.seeds(values, printed), "04_paper_data")

# %% [markdown]
# ## Runs made on this page
#
# All models share data, loss, training and candidates, and differ only in what makes them this model: GRU4Rec
# {cite:p}`gru4rec` and SASRec {cite:p}`sasrec` read the merged sequence by ID, IFCDSR reads three sequences by ID and,
# where there are pictures, by image. Each is trained once for every seed. In a domain with fewer than a thousand items
# there are fewer than 999 negatives: both protocols then rank all items, and agree.

# %%
results = {}
for name in names:
    experiment = experiments.comparison(name, seed_list, source, **changes)
    results[name] = experiments.run_all(experiment)

# %% mystnb={"markdown_format": "myst"}
for protocol in PROTOCOLS:
    for name, runs in results.items():
        display(tables.comparison(runs, source, name, protocol,
                                  f"tab-comparison-{name}-{protocol}"))

# %% mystnb={"figure": {"caption": "MRR against 999 negatives of every run made on this page: a point a seed, the bar is their mean.", "name": "fig-comparison"}}
values = {tables.title(source, name):
          tables.per_seed(runs, DOMAIN_NAMES[name], "sampled_999")
          for name, runs in results.items()}
plots.save_figure(plots.seeds(values), f"04_{source}")

# %% [markdown]
# ### Is a difference more than luck?
#
# All models rank the same cases, so differences can be taken case by case. The interval says how much the mean
# difference would vary with other test cases of the same kind; it was found by drawing the cases anew, with
# replacement, many times (a *bootstrap*). An interval that does not contain zero is evidence of a difference.

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    differences = tables.case_differences(runs, list(runs)[-1],
                                          DOMAIN_NAMES[name], "sampled_999")
    display(tables.show(differences,
                        f"{tables.title(source, name)}: differences in percentage "
                        "points against 999 negatives, with 95 % bootstrap intervals "
                        "over test cases.", f"tab-differences-{name}"))
