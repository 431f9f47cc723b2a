/* IFCDSR's forward pass in the browser. Equation numbers are the paper's; names are those of models/ifcdsr.py.

   A vector is an array of numbers, a matrix or a sequence an array of vectors. Arithmetic is in double precision. */
"use strict";

var IFCDSR = (() => { // not const: a notebook may show the page twice
  const X = "x", Y = "y", XY = "xy";
  const NORM_EPSILON = 1e-5;        // of torch's LayerNorm
  const LARGEST_SCALE = 100;        // of 1 / temperature

  // ------------------------------------------------------------------ numbers

  /** A matrix as an array of its rows, or a vector: whole multiples of a step, in base64, three bytes each. */
  function decode({ shape, step, bytes }) {
    const text = atob(bytes), values = new Float64Array(text.length / 3);
    for (let i = 0; i < values.length; i++) {
      const low = text.charCodeAt(3 * i), middle = text.charCodeAt(3 * i + 1), high = text.charCodeAt(3 * i + 2);
      values[i] = (((low << 8) | (middle << 16) | (high << 24)) >> 8) * step;
    }
    if (shape.length === 1) return values;
    return Array.from({ length: shape[0] }, (_, row) => values.subarray(row * shape[1], (row + 1) * shape[1]));
  }

  function dot(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
    return sum;
  }

  /** What a function makes of each number; ten times as fast as Float64Array.from. */
  function mapped(numbers, make) {
    const made = new Float64Array(numbers.length);
    for (let i = 0; i < made.length; i++) made[i] = make(numbers[i], i);
    return made;
  }

  const add = (a, b) => mapped(a, (value, i) => value + b[i]);
  const scaled = (a, factor) => mapped(a, (value) => value * factor);
  const unit = (a) => scaled(a, 1 / Math.max(Math.sqrt(dot(a, a)), 1e-12));

  /** W v + b. */
  const linear = (vector, { weight, bias }) => mapped(weight, (row, i) => dot(row, vector) + bias[i]);

  function layerNorm(vector, { weight, bias }) {
    const mean = vector.reduce((sum, value) => sum + value, 0) / vector.length;
    const variance = vector.reduce((sum, value) => sum + (value - mean) ** 2, 0) / vector.length;
    const factor = 1 / Math.sqrt(variance + NORM_EPSILON);
    return mapped(vector, (value, i) => (value - mean) * factor * weight[i] + bias[i]);
  }

  function softmax(scores) {
    let largest = -Infinity, sum = 0;
    for (const score of scores) largest = Math.max(largest, score);
    const shares = mapped(scores, (score) => Math.exp(score - largest));
    for (const share of shares) sum += share;
    return scaled(shares, 1 / sum);
  }

  /** The error function to 1.5e-7 (Abramowitz & Stegun, 7.1.26). */
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Math.sign(x) * (1 - series * Math.exp(-x * x));
  }

  const ACTIVATIONS = {
    gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
    relu: (x) => Math.max(0, x),
  };

  // ------------------------------------------------------------------ (1): Attention

  /** One causal self-attention encoder: of a sub-sequence's item vectors its newest state, and where it looked. */
  class Encoder {
    constructor(parts, config) {
      Object.assign(this, { parts, config });
    }

    /** (1): h, the last row of H = Attention(F), and the last layer's attention at the newest item, mean over heads. */
    read(sequence) {
      const { parts, config } = this;
      let hidden = parts.positions ? sequence.map((vector, t) => add(vector, parts.positions[t])) : sequence;
      let attention = [];
      for (const block of parts.blocks) {
        const mixed = this.attend(hidden.map((vector) => linear(layerNorm(vector, block.norm), block.queryKeyValue)));
        attention = mixed.attention;
        hidden = hidden.map((vector, t) => add(vector, linear(mixed.vectors[t], block.output)));
        if (block.enter) hidden = hidden.map((vector) => add(vector, this.feedForward(vector, block)));
      }
      return { state: layerNorm(hidden[hidden.length - 1], parts.norm), attention };
    }

    /** Causal attention of several heads; each vector holds query, key and value one after another. */
    attend(split) {
      const count = split.length, width = split[0].length / 3, heads = this.config.num_heads, size = width / heads;
      const vectors = split.map(() => new Float64Array(width));
      const attention = new Float64Array(count);
      for (let head = 0; head < heads; head++) {
        const part = (vector, kind) => vector.subarray(kind * width + head * size, kind * width + (head + 1) * size);
        const keys = split.map((vector) => part(vector, 1)), values = split.map((vector) => part(vector, 2));
        for (let t = 0; t < count; t++) {
          const query = scaled(part(split[t], 0), 1 / Math.sqrt(size));
          const weights = softmax(keys.slice(0, t + 1).map((key) => dot(query, key)));
          weights.forEach((weight, s) => values[s].forEach((value, i) => (vectors[t][head * size + i] += weight * value)));
          if (t === count - 1) weights.forEach((weight, s) => (attention[s] += weight / heads));
        }
      }
      return { vectors, attention };
    }

    feedForward(vector, block) {
      const inner = linear(layerNorm(vector, block.innerNorm), block.enter);
      return linear(mapped(inner, ACTIVATIONS[this.config.activation]), block.leave);
    }
  }

  // ------------------------------------------------------------------ the model

  class Model {
    /**
     * @param exported  weights and settings of one run
     * @param catalogue  numbers of items, longest history, image vectors: what all runs share
     */
    constructor(exported, catalogue) {
      const { config } = exported, tensor = (name) => decode(exported.tensors[name]);
      this.config = config;
      this.numItemsX = catalogue.num_items_x;
      this.maxSeqLen = catalogue.max_seq_len;
      // E_id and E_img: row i - 1 for item i
      this.matrices = { id: tensor("item_embedding.weight") };
      if (config.image_fusion) this.matrices.image = decode(catalogue.images);
      this.modalities = Object.keys(this.matrices);
      this.branches = config.multiple_attention ? [X, Y, XY] : [XY];
      this.items = {};
      for (const modality of this.modalities) this.items[modality] = this.matrices[modality].map(unit);
      this.temperature = Math.exp(-tensor("log_scale")[0]);
      this.scales = Array.from(tensor("log_scale"), (value) => Math.min(Math.exp(value), LARGEST_SCALE));
      this.encoders = {};
      for (const branch of this.branches) {
        for (const modality of this.modalities) {
          this.encoders[`${branch}_${modality}`] = new Encoder(encoderParts(tensor, `${branch}_${modality}`, config), config);
        }
      }
    }

    /** S^X, S^Y and S^{X+Y}: places in the history, of its newest items. */
    sequences(history) {
      const first = Math.max(0, history.length - this.maxSeqLen);
      const places = history.map((_, place) => place).slice(first);
      const isX = (place) => history[place] <= this.numItemsX;
      return { [X]: places.filter(isX), [Y]: places.filter((place) => !isX(place)), [XY]: places };
    }

    /**
     * (1) and (2) for every branch and modality: a vote each, with the cosine of every item and the attention paid to
     * every place of the history. A branch that has nothing to read has h = 0, and all its cosines are 0.
     */
    votes(history) {
      const sequences = this.sequences(history), votes = [];
      for (const branch of this.branches) {
        for (const modality of this.modalities) {
          const places = sequences[branch], items = this.items[modality];
          const attention = new Float64Array(history.length);
          let cosines = new Float64Array(items.length);
          if (places.length) {
            const vectors = places.map((place) => this.matrices[modality][history[place] - 1]);
            const read = this.encoders[`${branch}_${modality}`].read(vectors);
            const query = unit(read.state);
            cosines = mapped(items, (item) => dot(query, item));
            places.forEach((place, i) => (attention[place] = read.attention[i]));
          }
          votes.push({ branch, modality, cosines, attention, reads: places.length });
        }
      }
      return votes;
    }

    /** Weights of the modalities in (5). */
    mixing({ alpha }) {
      return this.config.image_fusion ? { id: alpha, image: 1 - alpha } : { id: 1 };
    }

    /** Weights of the branches in (8) for a target domain. */
    branchWeights(domain, { lambda_1, lambda_2 }) {
      if (!this.config.multiple_attention) return { [XY]: 1 };
      const source = domain === X ? Y : X;
      return { [domain]: 1, [source]: this.config.source_branch === "score" ? lambda_1 : 0, [XY]: lambda_2 };
    }

    /** First item and number of items of a domain, or of both together; counted from 0. */
    range(domain) {
      const all = this.items.id.length;
      return { [X]: [0, this.numItemsX], [Y]: [this.numItemsX, all - this.numItemsX], [XY]: [0, all] }[domain];
    }

    /**
     * (3) to (5) and (8): P(x_i|S) of every item of a target domain, and what each vote adds to it.
     *
     * @param knobs  alpha, lambda_1, lambda_2, and temperature (null: what was trained with)
     * @returns  first (item of the domain, from 0), parts (one per vote, with what it adds to each item), and total
     */
    mixture(votes, domain, knobs) {
      const [first, count] = this.range(domain);
      const mixing = this.mixing(knobs), weights = this.branchWeights(domain, knobs);
      const total = new Float64Array(count);
      const parts = votes.map((vote) => {
        const added = new Float64Array(count), weight = mixing[vote.modality] * weights[vote.branch];
        if (!(weight > 0)) return { vote, weight: 0, added };
        // the source domain's branch gives the target's items a softmax of their own [gap 2]
        const [start, size] = this.range(vote.branch === XY ? XY : domain);
        const scale = knobs.temperature ? 1 / knobs.temperature : this.scales[this.modalities.indexOf(vote.modality)];
        const shares = softmax(scaled(vote.cosines.subarray(start, start + size), scale)); // (3), (4)
        for (let i = 0; i < count; i++) {
          added[i] = weight * shares[first - start + i]; // (5), (8)
          total[i] += added[i];
        }
        return { vote, weight, added };
      });
      return { first, parts, total };
    }

    /** log P(x_i|S) of every item of a domain, as ``IFCDSR.score`` gives it. */
    score(history, domain, knobs) {
      return this.mixture(this.votes(history), domain, knobs).total.map(Math.log);
    }
  }

  /** An encoder's weights by role; the names of tensors are torch's. */
  function encoderParts(tensor, name, config) {
    const within = (...path) => ["encoders", name, ...path].join(".");
    const pair = (...path) => ({ weight: tensor(within(...path, "weight")), bias: tensor(within(...path, "bias")) });
    const block = (number) => ({
      norm: pair("blocks", number, "attention_norm"),
      queryKeyValue: pair("blocks", number, "query_key_value"),
      output: pair("blocks", number, "output"),
      ...(config.inner_size && {
        innerNorm: pair("blocks", number, "inner_norm"),
        enter: pair("blocks", number, "inner", 0),
        leave: pair("blocks", number, "inner", 3),
      }),
    });
    return {
      positions: config.positions ? tensor(within("position_embedding", "weight")) : null,
      blocks: Array.from({ length: config.num_layers }, (_, number) => block(number)),
      norm: pair("norm"),
    };
  }

  /** The few items with the highest scores, best first; equal ones in their own order. */
  function best(scores, count) {
    const found = [];
    for (let item = 0; item < scores.length; item++) {
      if (found.length === count && !(scores[item] > scores[found[count - 1]])) continue;
      let place = found.length;
      while (place > 0 && scores[item] > scores[found[place - 1]]) place -= 1;
      found.splice(place, 0, item);
      found.length = Math.min(found.length, count);
    }
    return found;
  }

  /** Rank of one of the items, from 1; those that score alike share the mean of their places. */
  function rank(scores, index) {
    let better = 0, alike = 0;
    for (const score of scores) {
      if (score > scores[index]) better += 1;
      else if (score === scores[index]) alike += 1;
    }
    return better + (alike + 1) / 2;
  }

  return { X, Y, XY, Model, best, rank };
})();
