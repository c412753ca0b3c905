// The browser of groups: a list with filters, and one group of completions, plain and hinted side by side.

let index;
/** Groups that pass the filters, as positions in `index.rows`. */
let listed = [];
/** Groups whose texts hold what is searched; null without a search. */
let textMatches = null;
const shards = new Map();
const PAGE_SIZE = 200;

/** Row of the index, with names. */
function rowAt(at) {
  const [run, step, group, problem, kind, verdicts, sources, levels, reward, shard, place] = index.rows[at];
  return { run, step, group, problem, kind, verdicts, sources, levels, reward, shard, place };
}

/** Names a group in the address; evaluations number their groups by themselves. */
const keyOf = ({ run, step, group, kind, evaluated }) => `${run}-${step}-${group}${evaluated || isEvaluation(kind) ? "e" : ""}`;
const positionOf = (key) => index.rows.findIndex((_, at) => keyOf(rowAt(at)) === key);
const isEvaluation = (kind) => index.kinds[kind] === "evaluation";
const stepOf = ({ step, kind }) => (isEvaluation(kind) ? `evaluation at step ${step}` : `step ${step}`);
const isWrong = (name) => ["incorrect", "no_answer", "truncated"].includes(name);
const tone = (verdict) => (verdict === "correct" ? "correct" : isWrong(verdict) ? "wrong" : "other");
const spaced = (name) => name.replaceAll("_", " ");

async function shardAt(number) {
  if (!shards.has(number)) shards.set(number, unpack(`shard-${number}`));
  return shards.get(number);
}

function showFilters() {
  const select = (key, label, options, all) => el("select", { "aria-label": label, onchange: (event) => filter({ [key]: event.target.value }) },
    el("option", { value: "" }, all), options.map(([value, name]) => el("option", { value, selected: String(value) === state[key] }, name)));
  const present = (names, has) => names.map((name, at) => [at, spaced(name)]).filter(([at]) => index.rows.some((row) => has(row, at)));
  const number = (key, label) => el("input", { type: "number", min: 0, inputmode: "numeric", placeholder: label, "aria-label": `${label} step`,
    value: state[key], onchange: (event) => filter({ [key]: event.target.value }) });
  const search = el("input", { type: "search", id: "search", placeholder: "Search problems, hints and completions", "aria-label": "Search problems, hints and completions",
    value: state.q, autocomplete: "off", spellcheck: "false", oninput: () => searchSoon(search.value) });
  const runs = overview.runs.map((run, at) => [at, run.name]);
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const difficulties = [...new Set(index.problems.map(([, , level]) => level).filter((level) => level !== null))].sort(compare);
  const verifierLevels = present(index.levels, (row, at) => row[7] & (1 << at));
  const form = $("filters");
  form.replaceChildren(...[
    search,
    runs.length > 1 && el("div", { class: "wide" }, select("run", "Run", runs, "All runs")),
    select("kind", "Kind of group", present(index.kinds, (row, at) => row[4] === at), "All groups"),
    select("verdict", "Verdict", present(index.verdicts, (row, at) => row[5][at] > 0), "Any verdict"),
    select("source", "Source", present(index.sources, (row, at) => row[6] & (1 << at)), "Any source"),
    difficulties.length > 0 && select("difficulty", "Level of the problem", difficulties.map((level) => [level, `level ${level}`]), "Any level"),
    verifierLevels.length > 1 && select("level", "Level of the verifier", verifierLevels, "Any verifier level"),
    el("div", { class: "steps wide" }, el("span", { class: "soft" }, "Steps"), number("from", "first"), "–", number("to", "last"),
      el("button", { type: "button", onclick: clearFilters }, "Clear")),
  ].filter(Boolean));
  form.onsubmit = (event) => event.preventDefault();
}

function filter(changes) {
  setState(changes);
  showList();
}

function clearFilters() {
  setState({ run: "", kind: "", verdict: "", source: "", level: "", difficulty: "", from: "", to: "", q: "" });
  textMatches = null;
  showFilters();
  showList();
}

let searchTimer;
function searchSoon(query) {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(() => search(query), 150);
}

/** Searches ids and questions at once, then the texts, shard by shard. */
async function search(query) {
  setState({ q: query });
  const text = query.trim().toLowerCase();
  textMatches = text ? new Set() : null;
  showList();
  if (!text) return;
  const mine = textMatches;
  const places = new Map(index.rows.map((row, at) => [`${row[9]}-${row[10]}`, at]));
  for (let number = 0; $(`shard-${number}`); number++) {
    const groups = await shardAt(number);
    if (textMatches !== mine) return; // Another search began.
    groups.forEach((group, place) => {
      if (textOf(group).includes(text)) mine.add(places.get(`${number}-${place}`));
    });
    if (number % 8 === 7) showList(`searching … ${number + 1} of ${shardCount()} parts`);
  }
  showList();
}

const shardCount = () => document.querySelectorAll("script[id^='shard-']").length;

/** Everything of a group that is searched, in small letters. */
function textOf(group) {
  group.searched ??= [group.question, group.reference, ...group.hints.map(([hint]) => hint),
    ...group.completions.map((one) => `${one.text}${(one.tokens ?? []).join("")}\n${one.extracted ?? ""}`)].join("\n").toLowerCase();
  return group.searched;
}

function passes(at) {
  const row = index.rows[at];
  const is = (key, test) => state[key] === "" || test(Number(state[key]));
  const text = state.q.trim().toLowerCase();
  return is("run", (run) => row[0] === run) && is("from", (step) => row[1] >= step) && is("to", (step) => row[1] <= step)
    && is("kind", (kind) => row[4] === kind) && is("verdict", (verdict) => row[5][verdict] > 0)
    && (state.difficulty === "" || index.problems[row[3]][2] === state.difficulty)
    && is("source", (source) => (row[6] >> source) & 1) && is("level", (level) => (row[7] >> level) & 1)
    && (!text || textMatches?.has(at) || index.problems[row[3]].some((field) => field?.toLowerCase().includes(text)));
}

function showList(progress) {
  listed = index.rows.map((_, at) => at).filter(passes);
  const list = $("list");
  list.replaceChildren();
  list.scrollTop = 0;
  extendList();
  const kept = index.rows.length;
  const inFile = kept < index.total
    ? `${kept.toLocaleString("en")} of ${index.total.toLocaleString("en")} groups are in this file`
    : `all ${index.total.toLocaleString("en")} groups are in this file`;
  $("status").textContent = [`${listed.length.toLocaleString("en")} shown`, inFile, progress].filter(Boolean).join(" · ");
  if (!listed.length) list.append(el("p", { class: "empty" }, index.total ? "No group fits these filters." : "The runs have no rollout table, or it is empty."));
  markSelected();
}

/** Appends the next page of the list. */
function extendList() {
  const list = $("list");
  const from = list.querySelectorAll("li").length;
  list.append(...listed.slice(from, from + PAGE_SIZE).map(listItem));
}

function listItem(at) {
  const row = rowAt(at);
  const [id, question] = index.problems[row.problem];
  const total = row.verdicts.reduce((sum, count) => sum + count, 0);
  const correct = row.verdicts[0];
  const parts = { correct: 0, wrong: 0, other: 0 };
  row.verdicts.forEach((count, verdict) => (parts[tone(index.verdicts[verdict])] += count));
  const mix = el("span", { class: "mix", "aria-hidden": "true" }, Object.entries(parts).map(([name, count]) => {
    const part = el("i", { class: name });
    part.style.flex = count;
    return part;
  }));
  return el("li", { role: "option", id: `row-${keyOf(row)}`, "data-at": at, onclick: () => open(at, true) },
    el("span", { class: "title" }, el("bdi", {}, visible(question || id))),
    el("span", { class: "number" }, `${correct}/${total}`),
    el("span", { class: "under" },
      el("span", { class: "number" }, [overview.runs.length > 1 && overview.runs[row.run].name, `step ${row.step}`].filter(Boolean).join(" · ")),
      el("span", {}, index.kinds[row.kind]), mix));
}

function markSelected() {
  const list = $("list");
  for (const item of list.querySelectorAll('[aria-selected="true"]')) item.removeAttribute("aria-selected");
  const item = state.open && $(`row-${state.open}`);
  if (!item) return list.removeAttribute("aria-activedescendant");
  item.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", item.id);
  item.scrollIntoView({ block: "nearest" });
}

/** Opens the next group of the list, or the one before. */
function step(by) {
  const at = listed.indexOf(positionOf(state.open));
  const next = at < 0 ? (by > 0 ? 0 : listed.length - 1) : at + by;
  if (next < 0 || next >= listed.length) return;
  while (next >= $("list").querySelectorAll("li").length) extendList();
  open(listed[next], false);
}

async function open(at, reveal) {
  const row = rowAt(at);
  setState({ open: keyOf(row) });
  markSelected();
  if (reveal) document.querySelector(".browser").classList.add("open");
  const group = (await shardAt(row.shard))[row.place];
  if (state.open === keyOf(row)) showGroup(row, group);
}

function closeGroup() {
  document.querySelector(".browser").classList.remove("open");
  $("list").focus();
  markSelected();
}

function showGroup(row, group) {
  const [id] = index.problems[row.problem];
  const colorings = availableColorings(group);
  const chosen = colorings.includes(state.color) ? state.color : state.color === "none" ? "none" : colorings[0] ?? "none";
  const coloring = COLORINGS[chosen];
  const full = coloring && fullColor(group, coloring);
  const again = (changes) => {
    setState(changes);
    showGroup(row, group);
  };
  const sides = [["plain", group.completions.filter((one) => one.source === "plain")], ["hinted", group.completions.filter((one) => one.source !== "plain")]]
    .filter(([, completions]) => completions.length);
  const pair = sides.length > 1;
  const options = [["none", "None"], ...colorings.map((key) => [key, COLORINGS[key].name])];
  const uncolored = overview.runs[row.run].uncolored;
  const head = el("div", { class: "group-head" },
    el("button", { class: "back", onclick: closeGroup }, "← List"),
    el("h2", {}, isEvaluation(row.kind) ? "Evaluation at step" : "Step", ` ${row.step} · `, el("bdi", {}, visible(id))),
    el("span", { class: "tag" }, index.kinds[row.kind]),
    overview.runs.length > 1 && el("span", { class: "soft" }, overview.runs[row.run].name),
    el("span", { class: "turn" },
      el("button", { onclick: () => step(-1), "aria-label": "Previous group", title: "Previous group (k)" }, "↑"),
      el("button", { onclick: () => step(1), "aria-label": "Next group", title: "Next group (j)" }, "↓")));
  const bar = el("div", { class: "tokenbar" },
    colorings.length > 0 && el("span", { class: "soft" }, "Color"), colorings.length > 0 && choice("Color of tokens", options, chosen, (value) => again({ color: value })),
    coloring && scaleBar(coloring, full),
    pair && el("span", { class: "side-switch" }, choice("Side", sides.map(([side, completions]) => [side, `${SIDES[side]} ${fraction(completions)}`]), state.side, (side) => again({ side }))),
    pair && el("label", { class: "both" }, el("input", { type: "checkbox", checked: state.pair === "1", onchange: () => again({ pair: state.pair === "1" ? "0" : "1" }) }), " Side by side"),
    !colorings.length && uncolored && el("span", { class: "soft" }, `Tokens are not colored: ${uncolored}.`));
  const columns = el("div", { class: `sides${pair ? ` ${state.side}` : ""}${pair && state.pair === "1" ? " pair" : ""}` },
    sides.map(([side, completions]) => showSide(side, completions, group, coloring, full)));
  $("group").replaceChildren(head, problemTexts(row, group), bar, columns);
  $("group").scrollTop = 0;
  highlight($("group"), state.q.trim().toLowerCase());
}

function problemTexts(row, group) {
  const affinity = (label, value) => value && el("span", { title: `EUR ${number(value[1])}, UC ${number(value[2])} nats` }, `${label} `, el("b", {}, number(value[0])));
  const others = index.rows.map((_, at) => at).filter((at) => index.rows[at][3] === row.problem && keyOf(rowAt(at)) !== keyOf(row));
  const steps = others.slice(0, 20).map((at) => el("button", { class: "tag linked", onclick: () => open(at, true) },
    [overview.runs.length > 1 && overview.runs[rowAt(at).run].name, stepOf(rowAt(at))].filter(Boolean).join(" ")));
  return el("div", { class: "texts" },
    el("div", {}, el("h3", {}, "Problem"), el("div", { class: "text", dir: "auto" }, visible(group.question ?? "The problem is no longer in the data."))),
    group.reference !== null && el("div", {}, el("h3", {}, "Reference answer"), el("div", { class: "answer" }, visible(group.reference))),
    el("div", { class: "facts" },
      group.level !== null && group.level !== undefined && el("span", {}, "level ", el("b", {}, visible(group.level))),
      el("span", {}, "mean reward ", el("b", {}, number(row.reward))),
      affinity("Affinity of the ratio", group.affinity), affinity("Affinity to the sampler", group.behavior_affinity),
      group.hinted_weight !== null && el("span", {}, "hinted weight ", el("b", {}, number(group.hinted_weight)))),
    steps.length > 0 && el("div", { class: "group-head" }, el("span", { class: "soft" }, "Same problem:"), steps.slice(0, 4),
      steps.length > 4 && el("details", {}, el("summary", {}, `${steps.length - 4} more`), steps.slice(4))));
}

const SIDES = { plain: "Plain prompt", hinted: "With a hint" };
const fraction = (completions) => `${completions.filter((one) => one.verdict === "correct").length} of ${completions.length}`;

function showSide(side, completions, group, coloring, full) {
  const title = SIDES[side];
  const hints = [...new Set(completions.map((one) => one.hint).filter((hint) => hint !== undefined))];
  const prompt = (text) => text && el("details", {}, el("summary", {}, "Prompt as the model reads it"), el("pre", {}, visible(text)));
  return el("section", { class: side, "aria-label": title },
    el("div", { class: "side-title", "--color": `var(--${side})` }, el("h3", {}, title), el("span", { class: "soft" }, `${fraction(completions)} correct`)),
    side === "plain" && prompt(group.prompt),
    side === "plain" && hints.length > 0 && el("p", { class: "soft" }, "A hint teaches: the completions below were sampled without it, and scored under it."),
    hints.map((hint) => el("div", { class: "hint" }, el("div", { class: "text", dir: "auto" }, visible(group.hints[hint][0])), prompt(group.hints[hint][1]))),
    completions.map((completion) => showCompletion(completion, coloring, full, hints.length > 1 ? hints.indexOf(completion.hint) + 1 : 0)));
}

function showCompletion(completion, coloring, full, hint) {
  const parts = Object.entries(completion.parts);
  const rewards = parts.length > 1 ? ` (${parts.map(([name, value]) => `${visible(name)} ${number(value)}`).join(", ")})` : "";
  return el("section", { class: "completion", tabindex: 0, "aria-label": `${completion.source} completion, ${spaced(completion.verdict)}` },
    el("header", {},
      el("span", { class: `tag ${tone(completion.verdict)}` }, spaced(completion.verdict)),
      completion.extracted !== undefined && el("span", {}, "answer ", el("bdi", { class: "answer" }, visible(completion.extracted)), completion.rule && ` by ${spaced(completion.rule)}`),
      el("span", {}, `reward ${number(completion.reward)}${rewards}`),
      completion.advantage !== undefined && el("span", {}, `advantage ${signed(completion.advantage)}`),
      el("span", {}, `${completion.length} tokens`),
      completion.cut_off && el("span", { class: "tag other" }, "cut off"),
      completion.role !== "trained" && el("span", { class: "tag" }, completion.role.replaceAll("_", " ")),
      completion.taught && el("span", { class: "tag" }, "taught"),
      !["plain", "hinted"].includes(completion.source) && el("span", { class: "tag" }, completion.source),
      completion.hint_share !== undefined && el("span", {}, `${inUnit(completion.hint_share, "share")} of the hint`),
      hint > 0 && el("span", {}, `hint ${hint}`),
      completion.level && completion.level !== "strict" && el("span", {}, `level ${completion.level}`)),
    tokenText(completion, coloring, full),
    completion.reason && el("p", { class: "reason" }, visible(completion.reason)));
}
