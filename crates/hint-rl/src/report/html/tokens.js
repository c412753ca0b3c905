// The tokens of a completion, colored by what was measured of them.

/** What tokens can be colored by: a value per token, or nothing. */
const COLORINGS = {
  delta: {
    name: "Δ hint", unit: " nats", low: "less likely with the hint", high: "more likely with the hint", inks: ["--down", "--up"],
    of: (completion, at) => scaledBy(completion.deltas?.[at], 100),
    about: "Δ = log π(y|x⊕h) − log π(y|x): what the hint adds to a token. Where a hint teaches: the teacher's log-probability minus its counterpart's",
  },
  ratio: {
    name: "Log-ratio", unit: " nats", low: "less likely now", high: "more likely now", inks: ["--down", "--up"],
    of: (completion, at) => scaledBy(completion.ratios?.[at], 1000),
    about: "log π_θ − log π_old at the first optimizer step",
  },
  drift: {
    name: "KL", unit: " nats", low: "less likely than in the reference", high: "more likely than in the reference", inks: ["--down", "--up"],
    of: (completion, at) => scaledBy(completion.drifts?.[at], 1000),
    about: "log π_θ − log π_ref at the first optimizer step: its mean is an estimate of the KL divergence",
  },
  advantage: {
    name: "Advantage", unit: "", low: "pushed down", high: "pushed up", inks: ["--bad", "--good"],
    of: (completion) => (completion.ratios ? completion.advantage : null),
    about: "the advantage of the completion, on the tokens that have a gradient",
  },
  surprise: {
    name: "Surprise", unit: " nats", low: "expected", high: "surprising", inks: ["--up", "--up"],
    of: (completion, at) => scaledBy(completion.logprobs[at], -100),
    about: "−log probability of the token where it was drawn",
  },
};

const scaledBy = (value, unit) => (value === null || value === undefined ? null : value / unit);

/** The colorings that have a value in this group. */
function availableColorings(group) {
  const has = (coloring) => group.completions.some((completion) =>
    completion.tokens?.some((_, at) => coloring.of(completion, at) !== null && coloring.of(completion, at) !== undefined));
  return Object.keys(COLORINGS).filter((key) => has(COLORINGS[key]));
}

/** The value at which a color is full: most tokens are below it. */
function fullColor(group, coloring) {
  const sizes = group.completions.flatMap((completion) => (completion.tokens ?? []).map((_, at) => Math.abs(coloring.of(completion, at) ?? 0)));
  sizes.sort((one, other) => one - other);
  return Math.max(sizes[Math.floor(0.98 * (sizes.length - 1))] ?? 0, sizes.at(-1) > 0 ? 1e-3 : 1);
}

function ink(coloring, value, full) {
  const name = coloring.inks[value < 0 ? 0 : 1];
  const strength = Math.min(1, Math.abs(value) / full);
  return `rgb(var(${name}) / ${(0.62 * strength).toFixed(3)})`;
}

/** Tokens from which on a completion is colored when it comes into view: a span per token takes a while. */
const LONG = 500;

/** Completions that are colored when they come into view, with the function that does it. */
const waiting = new WeakMap();
const painter = new IntersectionObserver((entries) => {
  const seen = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
  for (const host of seen) {
    painter.unobserve(host);
    waiting.get(host)();
  }
  // What was found in the text is now in other nodes.
  if (seen.length) highlight($("group"), state.q.trim().toLowerCase());
});

/** The text of a completion: a span per token, if the tokens are known. */
function tokenText(completion, coloring, full) {
  const host = el("div", { class: "tokens", dir: "auto" });
  const before = completion.text && el("span", { class: "soft" }, visible(completion.text));
  const special = new Map(completion.special ?? []);
  const tokens = completion.tokens ?? [];
  const textOf = (token, at) => visible(special.get(at) ?? token);
  const paint = () => host.replaceChildren(...[before, ...tokens.map((token, at) => {
    const span = el("span", { "data-at": at, class: special.has(at) && "special" }, textOf(token, at));
    const value = coloring?.of(completion, at);
    if (value) span.style.backgroundColor = ink(coloring, value, full);
    return span;
  })].filter(Boolean));
  if (tokens.length > LONG) {
    fill(host, {}, [before, tokens.map(textOf).join("")]);
    waiting.set(host, paint);
    painter.observe(host);
  } else paint();
  const hover = (event) => {
    const at = event.target.dataset?.at;
    if (at === undefined) return hideTip();
    showTip(event.clientX, event.clientY, tokenFacts(completion, Number(at)));
  };
  host.addEventListener("pointermove", hover);
  host.addEventListener("pointerdown", hover);
  host.addEventListener("pointerleave", hideTip);
  return host;
}

function tokenFacts(completion, at) {
  const rows = [["token", at + 1]];
  for (const { name, unit, of } of Object.values(COLORINGS)) {
    const value = of(completion, at);
    if (value !== null && value !== undefined) rows.push([name, `${signed(value)}${unit}`]);
  }
  const logprob = scaledBy(completion.logprobs[at], 100);
  if (logprob !== null) rows.push(["probability", inUnit(Math.exp(logprob), "share")]);
  return el("dl", {}, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

const signed = (value) => (value > 0 ? "+" : "") + number(value);

function scaleBar(coloring, full) {
  const [low, high] = coloring.inks;
  const both = low !== high || coloring.name !== "Surprise";
  const bar = el("i");
  const edge = (name) => `rgb(var(${name}) / .62)`;
  bar.style.background = both ? `linear-gradient(90deg, ${edge(low)}, transparent 50%, ${edge(high)})` : `linear-gradient(90deg, transparent, ${edge(high)})`;
  return el("span", { class: "scale", title: coloring.about },
    both ? `${coloring.low} −${number(full)}` : `${coloring.low} 0`, bar, `${both ? "+" : ""}${number(full)}${coloring.unit} ${coloring.high}`);
}

/** Marks where a text is found in an element, in browsers that can. */
function highlight(host, query) {
  if (!CSS.highlights) return;
  CSS.highlights.delete("found");
  if (!query || !host) return;
  const nodes = [];
  const walker = document.createTreeWalker(host, NodeFilter.SHOW_TEXT);
  let all = "";
  while (walker.nextNode()) {
    nodes.push({ node: walker.currentNode, start: all.length });
    all += walker.currentNode.data;
  }
  const place = (offset, end) => {
    const found = nodes.findLast(({ start }) => (end ? start < offset : start <= offset));
    return [found.node, offset - found.start];
  };
  const ranges = [];
  const low = all.toLowerCase();
  for (let at = low.indexOf(query); at >= 0 && ranges.length < 500; at = low.indexOf(query, at + query.length)) {
    const range = new Range();
    range.setStart(...place(at, false));
    range.setEnd(...place(at + query.length, true));
    ranges.push(range);
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
