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
# each domain. This page repeats them on the demo, and then asks the questions that only a generated world can answer:
# is a gain owed to pictures, and to the other domain, or would anything of that size have brought it?

# %% tags=["parameters"]
source = "demo"  # of the ablation; it needs pictures
scenarios = "food_kitchen,movie_book"  # of the ablation: one or both
curves = "food_kitchen"  # of the control curves, on the demo: one or both
signals = "0,0.25,0.5,0.75,1"  # positions of the dials
seeds = "0,1,2,3,4"
epochs = 0  # at most this many; 0: the book's number

# %%
import pandas as pd
import torch
from IPython.display import Markdown, display
from torch.nn.functional import normalize

from ifcdsr_core.analysis import bounds, paired, paper
from ifcdsr_core.book import evidence, figures, markup, parameters
from ifcdsr_core.book.pages import ablation
from ifcdsr_core.models.base import last
from ifcdsr_core.runs import lists, sweep
from ifcdsr_core.runs.assembly import assemble, build_model
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources.demo.ceiling import OTHER_DOMAIN, PICTURES

names = parameters.parse_scenarios(scenarios)
turned = parameters.parse_scenarios(curves)
seed_list, dial = parameters.parse_seeds(seeds), parameters.parse_signals(signals)
changes = {"epochs": epochs} if epochs else {}

# %% [markdown]
# ## In the paper
#
# The paper reports one number per column, for one domain, without repeats.

# %% mystnb={"markdown_format": "myst"}
markup.show(paper.PAPER_TABLE4, "Printed in the paper (its Table 4): ablation, MRR in percent.", "tab-paper-4")

# %% [markdown]
# ## What is mixed
#
# All three columns score items by the mixture {eq}`eq-mixture`; the first two leave some of its six parts out. Here the
# whole mixture is computed by hand, for one test case with a target in X. The model is untrained: the equation holds
# for any weights. Its six encoders read the histories; their last states $h$ and the item vectors $E$ are scaled to
# unit length:

# %%
(config,) = lists.configurations("ifcdsr", names[0], seed_list[:1])  # of the demo
_, inputs, cases = assemble(config)
torch.manual_seed(0)
model = build_model(config, inputs).eval()
case = cases["test"][cases["test"].target_domain == 0][:1]
histories = model.sequences(case)  # x, y and xy
with torch.no_grad():
    matrices = model.item_matrices()
    E_id, E_img = (normalize(matrix[1:], dim=-1) for matrix in matrices)  # (V, D)
    vectors = model.look_up(case, matrices)  # F_id and F_img of each
    states = {s: model.encode(vectors[s], histories[s], s) for s in histories}
    h = {s: [normalize(last(hidden, histories[s])) for hidden in both] for s, both in states.items()}
    scored = model.score(case, 0)  # log P, (1, V of X)

# %% [markdown]
# Six softmaxes of cosines follow: those of $S^X$ and $S^Y$ over the items of X, those of $S^{X+Y}$ over all items. They
# are mixed with $\alpha$ over the modalities, and then, for the items of X, with $\lambda_1$ and $\lambda_2$ over the
# histories:

# %%
c, n = model.config, inputs.num_items_x
size = {"x": n, "y": n, "xy": inputs.num_items}
P_id = {s: (h[s][0] @ E_id[: size[s]].T / c.temperature).softmax(dim=-1) for s in h}
P_img = {s: (h[s][1] @ E_img[: size[s]].T / c.temperature).softmax(dim=-1) for s in h}
P = {s: (c.alpha * P_id[s] + (1 - c.alpha) * P_img[s])[:, :n] for s in h}
by_hand = P["x"] + c.lambda_1 * P["y"] + c.lambda_2 * P["xy"]
print("equal:", torch.allclose(by_hand, scored.exp(), atol=0))
both = {"by hand": by_hand[0], "model.score": scored[0].exp()}
pd.DataFrame(both, index=range(1, n + 1)).rename_axis("item").head(3)

# %% [markdown]
# ## Here
#
# The same three columns, as rows, for both domains of each scenario and for several seeds. On the demo two more rows
# follow. They are no models but the best possible answers of somebody who knows the rules of this world: *Bayes* knows
# the history alone, as models do, and *Oracle* the user's taste, too ({doc}`04_comparison`).

# %%
results = {}
for name in names:
    experiment = lists.ablation(name, seed_list, source, **changes)
    results[name] = sweep.run_all(experiment)

# %% mystnb={"markdown_format": "myst"}
for protocol in ("sampled_999", "full"):
    for name, runs in results.items():
        rows = runs | bounds.bounds(runs)
        display(evidence.comparison_table(rows, source, name, protocol, f"tab-ablation-{name}-{protocol}"))

# %% mystnb={"figure": {"caption": "MRR against 999 negatives of every run of the ablation; lines join runs of one seed, bars are means.", "name": "fig-ablation"}}
values = {
    markup.data_title(source, name): paired.per_seed(runs, DOMAIN_NAMES[name], "sampled_999")
    for name, runs in results.items()
}
figures.save_figure(ablation.steps(values), "05_ablation")

# %% [markdown]
# Each step is compared with the one before it, seed by seed and case by case. Two things make such a difference
# uncertain: another seed would train another model, and other test cases would be easier or harder. *Noise* is half the
# width of a 95 % interval that holds both: the error by an analysis of variance over seeds and cases (what a seed does
# to single cases is in the spread of both, and counted once), times a quantile of Student's t, which is large where the
# few seeds are the larger uncertainty. A smaller difference is called within noise. Where there is no difference at
# all, about one comparison in twenty still looks like one; with two seeds, which may agree by chance, up to one in
# eight.

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    steps = paired.step_gains(runs, DOMAIN_NAMES[name])
    display(
        markup.show(
            steps,
            f"{markup.data_title(source, name)}: what each step adds "
            "to the MRR against 999 negatives, in percentage points.",
            f"tab-steps-{name}",
        )
    )

# %% [markdown]
# ## On real data
#
# There are no pictures of these items, so the columns with images are not available; what separate attention brings
# without them can be measured: over the merged sequence alone, which is the last step of Table 4, and over an encoder
# for each domain alone (λ1 = λ2 = 0), which knows nothing of the other domain. All are trained as in
# {doc}`04_comparison`, to the plateau, with the settings that were found for the whole model. Where one row has fewer
# seeds than the other, they are compared over the seeds of both; with one seed, noise is that of the test cases alone.

# %% mystnb={"markdown_format": "myst"}
for (real_source, name), runs in lists.shipped_arms(lists.domains, "merged sequence alone").items():
    data, title, protocol = f"{real_source}-{name}", markup.data_title(real_source, name), paired.chosen_by(runs)
    display(evidence.comparison_table(runs, real_source, name, protocol, f"tab-domains-{data}"))
    gained = paired.arm_gains(runs, paired.DOMAIN_STEPS, DOMAIN_NAMES[name])
    caption = (
        f"{title}: what multiple attention adds to the MRR {evidence.PROTOCOL_NAMES[protocol]}, in percentage points."
    )
    display(markup.show(gained, caption, f"tab-gains-{data}"))

# %% [markdown]
# ## Is the gain owed to pictures?
#
# If a score rises when images are added, that does not prove that the images did it: the model has also become larger,
# and has a second opinion of every item. The demo can tell, in two ways.
#
# - *The dial.* `visual_signal` sets how much of behaviour pictures explain. At 1 users choose by colour and pattern:
#   image fusion should help. At 0 behaviour does not depend on anything a picture shows, while pictures and model stay
#   the same: image fusion must not help.
# - *The placebo.* Each item gets the picture of another item of its domain, drawn at random. The model is as large, and
#   the vectors are as many and as different, but they say nothing about their item. What is gained all the same is not
#   owed to pictures, but to a second opinion of every item.
#
# If an item's own picture beats that of another item at 0 beyond noise, the implementation is broken. If it does not at
# 1, that is so, too, or the noise is too large to tell: these curves test the software as much as they are a result.
#
# *Pictures, to Bayes* is what they bring to the best possible answer: its MRR less that of an answer that takes looks
# to play no part. It is a yardstick and not a limit: a model that is far below the best answer without pictures can
# gain more by them, and one that has learned looks from who bought what can gain less.

# %%
visual = {
    name: {signal: sweep.run_all(lists.image_control(name, signal, seed_list, **changes)) for signal in dial}
    for name in turned
}
visual_gains = {
    name: bounds.beside_ceiling(
        paired.control_gains(runs, paired.IMAGE_STEPS, DOMAIN_NAMES[name]), runs, PICTURES, DOMAIN_NAMES[name]
    )
    for name, runs in visual.items()
}

# %% mystnb={"figure": {"caption": "Demo: what image fusion adds to the MRR against 999 negatives, by how much of behaviour pictures explain. Bands show the noise.", "name": "fig-visual-signal"}}
figures.save_figure(figures.control_curves(pd.concat(visual_gains.values()), "visual_signal"), "05_visual_signal")

# %%
for name, gains in visual_gains.items():
    display(
        Markdown(
            f"**{markup.data_title('demo', name)}.** "
            + evidence.modality_verdict(gains, paired.IMAGE_STEPS, "pictures")
        ),
        Markdown(evidence.share_of_ceiling(gains, "images", bounds.gain_of(PICTURES))),
    )

# %% [markdown]
# ## Is the gain of multiple attention owed to the other domain?
#
# Multiple attention gives each domain an encoder of its own beside that of the merged sequence. It can help for two
# reasons: because it *keeps the domains apart*, so that a domain with more behaviour does not drown the other; or
# because it *carries over* what one domain says about the other. The dial `cross_domain_signal` tells them apart. At 0
# a user's taste in Y is drawn anew and has nothing to do with that in X: there is nothing to carry over, and what is
# gained over the merged sequence alone is owed to the encoders of the domains. (They keep the domains apart, and they
# make the model larger; no placebo here tells these two from each other.) The second curve compares with an encoder for
# each domain alone (λ1 = λ2 = 0): what the other domain and the merged sequence add to it.
#
# So a gain at 0 is not a sign of a broken implementation; a gain that does not grow with the dial is a sign that
# nothing is carried over. *Other domain, to Bayes* is what the history there brings to the best possible answer: the
# yardstick for the rise of the second curve.

# %%
crossing = {
    name: {signal: sweep.run_all(lists.domain_control(name, signal, seed_list, **changes)) for signal in dial}
    for name in turned
}
crossing_gains = {
    name: bounds.beside_ceiling(
        paired.control_gains(runs, paired.DOMAIN_STEPS, DOMAIN_NAMES[name]), runs, OTHER_DOMAIN, DOMAIN_NAMES[name]
    )
    for name, runs in crossing.items()
}

# %% mystnb={"figure": {"caption": "Demo: what multiple attention adds to the MRR against 999 negatives, by the share of users whose taste is the same in both domains. Bands show the noise.", "name": "fig-cross-domain-signal"}}
figures.save_figure(
    figures.control_curves(pd.concat(crossing_gains.values()), "cross_domain_signal"), "05_cross_domain_signal"
)

# %%
for name, gains in crossing_gains.items():
    display(
        Markdown(f"**{markup.data_title('demo', name)}.** " + ablation.domain_verdict(gains)),
        Markdown(evidence.share_of_ceiling(gains, "over each domain alone", bounds.gain_of(OTHER_DOMAIN))),
    )

# %% [markdown]
# ## The numbers

# %% mystnb={"markdown_format": "myst"}
for kind, tables in (("visual", visual_gains), ("domain", crossing_gains)):
    for name, gains in tables.items():
        display(
            markup.show(
                evidence.control_table(gains),
                f"{markup.data_title('demo', name)}: gains in MRR against 999 negatives, "
                "in percentage points, by the position of the dial; mean ± noise.",
                f"tab-{kind}-signal-{name}",
            )
        )

# %%
made = [
    run
    for part in (visual, crossing)
    for by_signal in part.values()
    for runs in by_signal.values()
    for group in runs.values()
    for run in group
]
evidence.origin(made, f"sweep control --scenario {turned[0]}")
