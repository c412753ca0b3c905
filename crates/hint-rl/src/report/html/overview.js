// The view of the runs: who they are, what deserves a look, and the charts.

let overview;

function showRuns() {
  $("runs").replaceChildren(...overview.runs.map(runCard));
}

/** The state of a run as a colored word, and what it is besides. */
function verdictTags(run) {
  const { condition, tone, findings } = run.verdict;
  const others = findings.slice(1).map((finding) => finding.condition).join(", ");
  return [el("span", { class: `tag verdict ${tone}` }, condition ?? "too early"), others && el("span", { class: "soft" }, `also ${others}`)];
}

/** A finding: its condition, the evidence, what to try, and groups of completions that show it. */
function findingCard(finding, run) {
  const examples = finding.examples.map((example) => {
    const at = positionOf(keyOf({ ...example, run }));
    return el("button", { type: "button", class: "example", disabled: at < 0, title: at < 0 ? "This group is not in the file." : "Open the group", onclick: () => openExample(at) },
      el("b", {}, `${example.evaluated ? "evaluation at " : ""}step ${example.step} · `, el("bdi", {}, visible(example.problem))), el("span", { class: "soft" }, coded(example.why)));
  });
  return el("section", { class: `finding ${finding.tone}`, "aria-label": finding.condition },
    el("p", {}, el("span", { class: `tag ${finding.tone}` }, finding.condition), " ", coded(finding.evidence), " ", el("span", { class: "soft" }, finding.steps)),
    el("p", {}, el("b", {}, "Try: "), coded(finding.advice)),
    examples.length > 0 && el("div", { class: "examples", role: "group", "aria-label": `Groups that show it: ${finding.condition}` }, examples));
}

function openExample(at) {
  clearFilters();
  showView("completions");
  open(at, true);
}

function runCard(run, at) {
  const fact = (name, value) => value === null || value === undefined ? null : el("span", {}, `${name} `, el("b", {}, el("bdi", {}, visible(String(value)))));
  const progress = run.step < run.total_steps ? `${run.step} of ${run.total_steps}` : run.step;
  const sampled = run.tokens.at(-1);
  const few = overview.runs.length <= 2;
  const heading = [
    overview.series.length > 1 && el("span", { class: "swatch", "--color": color(run.series) }),
    el("h2", {}, el("bdi", {}, visible(run.name))),
    verdictTags(run),
    run.state.kind !== "finished" && el("span", { class: `tag ${["failed", "killed"].includes(run.state.kind) ? "wrong" : ""}` }, run.state.kind === "killed" ? "not running" : run.state.kind),
    !few && el("span", { class: "facts" }, fact("seed", run.seed), fact("step", progress), fact("accuracy", inUnit(lastOf(run, "eval/avg"), "share"))),
  ];
  return el(few ? "section" : "details", { class: "run", "aria-label": visible(run.name) },
    el(few ? "header" : "summary", {}, heading),
    el("div", { class: "facts" },
      fact("method", run.method), fact("model", run.model), fact("problems", run.problems), fact("seed", run.seed),
      fact("step", progress), run.seconds > 0 && fact("time", duration(run.seconds)),
      sampled > 0 && fact("sampled", `${number(sampled)} tokens`),
      run.state.last !== null && fact("last step", date(run.state.last))),
    run.state.words !== "" && run.state.words !== "running" && el("p", { class: "note" }, visible(run.state.words)),
    run.verdict.so_far && el("p", {}, "So far ", coded(run.verdict.so_far), "."),
    run.verdict.findings.map((finding) => findingCard(finding, at)),
    el("ul", { class: "findings" }, run.facts.map((fact) => el("li", {}, coded(fact)))),
    el("details", {}, el("summary", {}, "Configuration"), el("pre", { tabindex: 0 }, visible(run.config))));
}

/** The last value of a column. */
const lastOf = (run, column) => run.columns[column]?.findLast((value) => value !== null);

function showControls() {
  const several = overview.series.length > 1;
  const hidden = hiddenSeries();
  const change = (changes) => {
    setState(changes);
    showControls();
    showCharts();
  };
  const axes = choice("Horizontal axis", [["steps", "Steps"], ["tokens", "Sampled tokens"]], state.x, (x) => change({ x }));
  const longest = Math.max(0, ...overview.runs.map((run) => run.steps.length));
  const windows = [["1", "none"], ["5", "5 steps"], ["15", "15 steps"], ["50", "50 steps"]].filter(([size]) => size < longest);
  const smooth = el("select", { id: "smooth", onchange: (event) => change({ smooth: event.target.value }) },
    windows.map(([value, name]) => el("option", { value, selected: value === state.smooth }, name)));
  const toggle = (series) => {
    const now = new Set(hidden);
    if (!now.delete(series)) now.add(series);
    change({ hide: [...now].join(" ") });
  };
  const count = (series) => overview.runs.filter((run) => run.series === series).length;
  const legend = several && el("div", { class: "legend", role: "group", "aria-label": "Curves" },
    overview.series.map((label, series) => el("label", { "--color": color(series) },
      el("input", { type: "checkbox", checked: !hidden.has(series), onchange: () => toggle(series) }),
      el("span", { class: "swatch", "--color": color(series) }),
      visible(label) + (count(series) > 1 ? ` · ${count(series)} seeds` : ""))));
  const live = overview.runs.some((run) => ["running", "unfinished"].includes(run.state.kind)) && el("label", { title: "For a file that `hint-rl report --watch` keeps writing" },
    el("input", { type: "checkbox", checked: state.live === "1", onchange: () => change({ live: state.live === "1" ? "" : "1" }) }), "Reload every 30 s");
  $("controls").replaceChildren(axes, windows.length > 1 ? el("label", {}, el("span", { class: "soft" }, "Running mean"), smooth) : "", live || "", legend || "");
}

const hiddenSeries = () => new Set(state.hide.split(" ").filter(Boolean).map(Number));

function showCharts() {
  hideTip();
  const sections = Map.groupBy
    ? Map.groupBy(overview.charts, (one) => one.section)
    : overview.charts.reduce((map, one) => map.set(one.section, [...(map.get(one.section) ?? []), one]), new Map());
  const found = [...sections].flatMap(([section, charts]) => {
    const drawn = charts.flatMap(drawnCharts);
    if (section === "Learning") drawn.push(...sliceCharts());
    return drawn.length ? [el("h2", { class: "charts-title" }, section), el("div", { class: "charts" }, drawn)] : [];
  });
  const more = el("details", { id: "more" }, el("summary", {}, "Every metric"));
  more.addEventListener("toggle", () => {
    if (more.open && more.children.length === 1) more.append(el("div", { class: "charts" }, otherCharts()));
  });
  const seeds = overview.runs.length > overview.series.length;
  const bands = seeds ? "Lines are means over seeds; bands reach from the lowest to the highest seed." : "";
  const thinned = overview.runs.some((run) => run.every > 1) ? " Long runs are thinned: a point is one step of several." : "";
  const empty = overview.runs.every((run) => run.steps.length === 0);
  $("charts").replaceChildren(empty ? el("p", { class: "empty" }, "No step has finished yet.") : "", ...found,
    el("p", { class: "soft" }, bands + thinned), more);
}

/** The chart of one specification; a stacked one is drawn per curve. */
function drawnCharts(spec) {
  const hidden = hiddenSeries();
  const shown = overview.series.map((label, series) => ({ label, series, runs: overview.runs.filter((run) => run.series === series) }))
    .filter(({ series, runs }) => !hidden.has(series) && runs.some((run) => spec.lines.some((line) => run.columns[line.column])));
  if (!shown.length) return [];
  const options = { title: spec.title, about: spec.about, unit: spec.unit, axis: state.x, stacked: spec.stacked, range: range() };
  const window = Number(state.smooth);
  const pointsOf = (runs, line) => smoothed(points(runs, line, state.x), window);
  if (spec.stacked) {
    return shown.map(({ label, runs }) => chart(
      { ...options, title: overview.series.length > 1 ? `${spec.title}: ${label}` : spec.title },
      spec.lines.map((line, at) => ({ label: line.label, color: stackColor(line, at), dash: "", points: points(runs, line, state.x, spec.lines) }))
        .filter((curve) => curve.points.some((point) => point.mean !== 0))));
  }
  const several = overview.series.length > 1;
  // Several runs have the colors of the legend above the charts, and dashes tell lines apart.
  const curves = shown.flatMap(({ label, series, runs }) => spec.lines.map((line, at) => ({
    label: several ? [visible(label), line.label].filter(Boolean).join(" · ") : line.label,
    color: several ? color(series) : color(at),
    dash: several ? DASHES[at % DASHES.length] : "",
    points: pointsOf(runs, line),
  }))).filter((curve) => curve.points.length);
  if (several) options.keys = spec.lines.length > 1 ? spec.lines.map((line, at) => ({ label: line.label, color: "var(--c5)", dash: DASHES[at % DASHES.length] })) : [];
  return curves.length ? [chart(options, curves)] : [];
}

/** The ends of the horizontal axis, which all charts share. */
function range() {
  const places = overview.runs.flatMap((run) => (state.x === "tokens" ? run.tokens : run.steps));
  return [Math.min(...places), Math.max(...places)];
}

/** Verdicts have the colors that they have everywhere; phases those of curves. */
function stackColor(line, at) {
  const verdicts = { correct: "var(--right)", incorrect: "var(--wrong)", "no answer": "var(--c1)", truncated: "var(--c3)" };
  return verdicts[line.label] ?? color(at);
}

/** A chart for each metric that has none. */
function otherCharts() {
  const shown = new Set(overview.charts.flatMap((one) => one.lines.flatMap((line) => [line.column, ...(line.interval ?? [])])));
  const names = new Set(overview.runs.flatMap((run) => Object.keys(run.columns)));
  return [...names].filter((name) => !shown.has(name)).sort().flatMap((name) => drawnCharts({
    title: name, about: meaning(name), unit: "none", stacked: false, lines: [{ label: "", column: name, interval: null }],
  }));
}

/** What a metric means; a word in capitals stands for a family's members. */
function meaning(name) {
  if (overview.meanings[name]) return overview.meanings[name].trim();
  const family = Object.keys(overview.meanings).find((known) => {
    const [before, after] = known.split(/[A-Z]+/);
    return after !== undefined && name.startsWith(before) && name.endsWith(after) && name.length > before.length + after.length;
  });
  return family ? `${family}: ${overview.meanings[family].trim()}` : "A metric of this run's own.";
}

/** Accuracy by a column of the problems, such as their level: the first and the last evaluation. */
function sliceCharts() {
  const hidden = hiddenSeries();
  const runs = overview.runs.filter((run) => !hidden.has(run.series));
  const columns = [...new Set(runs.flatMap((run) => run.by.map((slice) => slice.column)))];
  return columns.map((column) => sliceChart(column, runs)).filter(Boolean);
}

function sliceChart(column, runs) {
  const rows = [];
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const values = [...new Set(runs.flatMap((run) => run.by.filter((slice) => slice.column === column).map((slice) => slice.value)))].sort(compare);
  for (const value of values) {
    for (const series of new Set(runs.map((run) => run.series))) {
      const slices = runs.filter((run) => run.series === series)
        .map((run) => run.by.filter((slice) => slice.column === column && slice.value === value)).filter((list) => list.length);
      if (!slices.length) continue;
      const mean = (list, of) => list.reduce((sum, one) => sum + of(one), 0) / list.length;
      const last = slices.map((list) => list.at(-1));
      const one = slices.length === 1;
      rows.push({
        value, series, problems: last[0].problems,
        first: mean(slices, (list) => list[0].avg), last: mean(last, (slice) => slice.avg),
        low: one ? last[0].low : Math.min(...last.map((slice) => slice.avg)),
        high: one ? last[0].high : Math.max(...last.map((slice) => slice.avg)),
      });
    }
  }
  if (!rows.length) return null;
  const figure = el("figure", { class: "chart" }, el("h3", {}, `Accuracy by ${visible(column)}`),
    el("p", {}, "Held-out problems without hints: first evaluation (ring), last one (dot) with its range."));
  const host = el("div");
  figure.append(host);
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== host.width) host.replaceChildren(drawSlices(rows, (host.width = width)));
  }).observe(host);
  return figure;
}

function drawSlices(rows, width) {
  const height = 26 + 20 * rows.length;
  const name = (row) => `${visible(row.value).slice(0, 18)} (${row.problems})`;
  const left = 14 + 6.4 * Math.max(...rows.map((row) => name(row).length));
  const x = (share) => left + share * (width - left - 26);
  const spokenRows = rows.map((row) => `${row.value}: ${inUnit(row.first, "share")}, then ${inUnit(row.last, "share")}`);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": spokenRows.join("; ") });
  for (const mark of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(svg("line", { class: "grid", x1: x(mark), x2: x(mark), y1: 4, y2: height - 20 }),
      svg("text", { class: "axis", x: x(mark), y: height - 5, "text-anchor": "middle" }, `${100 * mark} %`));
  }
  rows.forEach((row, at) => {
    const y = 14 + 20 * at;
    const ink = color(row.series);
    const isNew = at === 0 || rows[at - 1].value !== row.value;
    picture.append(
      isNew ? svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, name(row)) : "",
      svg("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y, stroke: ink, "stroke-width": 3, "stroke-opacity": 0.3 }),
      svg("line", { x1: x(row.first), x2: x(row.last), y1: y, y2: y, stroke: ink }),
      svg("circle", { cx: x(row.first), cy: y, r: 3.5, fill: "var(--panel)", stroke: ink, "stroke-width": 1.5 }),
      svg("circle", { cx: x(row.last), cy: y, r: 4, fill: ink }));
  });
  return picture;
}
