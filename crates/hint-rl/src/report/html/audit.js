// The audit of a problem file: what its references and hints are worth before training.

let audit = null;
/** Entries of a list that are shown; `hint-rl audit --json` has all of them. */
const MOST_LISTED = 200;

function showAudit() {
  const { file, problems, references, hints, trial } = audit;
  const equality = audit.verifier?.equality?.type;
  $("audit").replaceChildren(...[
    el("h2", {}, "Audit of ", el("bdi", {}, visible(file))),
    el("div", { class: "facts" },
      el("span", {}, "problems ", el("b", {}, number(problems))),
      equality && el("span", {}, "verifier ", el("b", {}, visible(`${equality}, ${audit.verifier.level}`)))),
    references && referencesPart(references),
    hints && hintsPart(hints.columns),
    trial?.length > 0 && trialPart(trial),
  ].filter(Boolean));
}

/** A table: names of the columns, and rows of cells. */
function tableOf(head, rows) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));
}

/** A count with its share; a count of something bad has its color. */
function counted(count, total, bad = "wrong") {
  const text = `${number(count)}${total > 0 ? ` (${inUnit(count / total, "share")})` : ""}`;
  return count > 0 ? el("span", { class: `tag ${bad}` }, text) : text;
}

const hintName = (column) => el("bdi", {}, visible(column ?? "hint"));

/** Entries behind a summary, as many as are worth reading. */
function entriesOf(title, entries, entry) {
  if (!entries.length) return null;
  const more = entries.length - MOST_LISTED;
  return el("details", { class: "entries" }, el("summary", {}, `${title}: ${number(entries.length)}`),
    el("ul", {}, entries.slice(0, MOST_LISTED).map((one) => el("li", {}, entry(one)))),
    more > 0 && el("p", { class: "soft" }, `and ${number(more)} more`));
}

function referencesPart({ checked, unusable, repaired }) {
  const reasons = [...new Set(unusable.map((one) => one.reason))].map((reason) => [visible(reason), counted(unusable.filter((one) => one.reason === reason).length, checked)]);
  return el("section", { class: "run", "aria-label": "References" }, el("h3", {}, "Reference answers"),
    el("p", {}, unusable.length ? counted(unusable.length, checked) : el("span", { class: "tag correct" }, "all usable"), ` of ${number(checked)} references${unusable.length ? " are unusable" : ""}`),
    reasons.length > 0 && tableOf(["reason", "references"], reasons),
    entriesOf("Unusable references", unusable, (one) => [el("b", {}, visible(one.problem)), " ", el("span", { class: "answer" }, visible(one.reference)), el("p", { class: "soft" }, visible(one.message))]),
    entriesOf("Repaired references", repaired, (one) => [el("b", {}, visible(one.problem)), " ", el("span", { class: "answer" }, visible(one.reference))]));
}

function hintsPart(columns) {
  const rows = columns.map((one) => [hintName(one.column), number(one.problems), counted(one.hints, one.problems, "correct"), counted(one.blank.length, one.problems, "other"),
    counted(one.answer, one.hints), counted(one.step, one.hints, "other"), counted(one.wrong.length, one.hints)]);
  const levels = columns.flatMap((one) => one.levels.map((level) => [hintName(one.column), visible(level.level), number(level.problems), counted(level.hints, level.problems, "correct"),
    counted(level.leaking, level.hints), counted(level.wrong, level.hints)]));
  const of = (key) => columns.flatMap((one) => one[key].map((entry) => ({ ...entry, column: one.column })));
  const blank = columns.flatMap((one) => one.blank.map((problem) => ({ problem, column: one.column })));
  const named = (one) => [el("b", {}, visible(one.problem)), columns.length > 1 && [" · ", hintName(one.column)]];
  return el("section", { class: "run", "aria-label": "Hints" }, el("h3", {}, "Hints"),
    tableOf(["hint", "problems", "with a hint", "blank", "give the answer away", "give a step away", "state another answer"], rows),
    levels.length > columns.length && [el("h3", {}, "By level"), tableOf(["hint", "level", "problems", "with a hint", "leaking", "state another answer"], levels)],
    entriesOf("Hints that give something away", of("leaks"), (one) => [named(one), el("div", { class: "text", dir: "auto" }, marked(one.hint, one.leaks))]),
    entriesOf("Hints that state another answer", of("wrong"), (one) => [named(one), " states ", el("span", { class: "answer" }, visible(one.states)), el("div", { class: "text", dir: "auto" }, visible(one.hint))]),
    entriesOf("Blank hints", blank, named));
}

/** A hint with its leaks marked; places are counted in bytes. */
function marked(text, leaks) {
  const bytes = new TextEncoder().encode(text);
  const part = (from, to) => visible(new TextDecoder().decode(bytes.slice(from, to)));
  let end = 0;
  const parts = [];
  for (const { span, kind, value } of leaks) {
    if (span.start < end) continue;
    const what = kind === "answer" ? "the answer" : "the value of a step";
    parts.push(part(end, span.start), el("mark", { class: kind, title: visible(`${what}, ${value}`) }, part(span.start, span.end)));
    end = span.end;
  }
  return [...parts, part(end)];
}

function trialPart(rows) {
  // Older audits have none.
  const interval = (share, known) => known ?? [share, share];
  const points = rows.map((row) => ({ value: `${row.column ?? "hint"}, ${row.level}`, series: row.level === "all" ? 0 : 1, problems: row.problems,
    first: row.plain, last: row.hinted, low: interval(row.hinted, row.hinted_interval)[0], high: interval(row.hinted, row.hinted_interval)[1] }));
  const within = (share, [low, high]) => `${inUnit(share, "share")} [${inUnit(low, "share")}, ${inUnit(high, "share")}]`;
  const host = el("div", { class: "chart" });
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== host.width) host.replaceChildren(drawSlices(points, (host.width = width)));
  }).observe(host);
  return el("section", { class: "run", "aria-label": "Trial" }, el("h3", {}, "Tried on the policy"),
    el("p", { class: "soft" }, "Share of correct completions on a sample: without the hint (ring), with it (dot, with its 95 % interval over problems). Rescued: all wrong without the hint, at least one correct with it."),
    host,
    tableOf(["hint", "level", "problems", "plain", "hinted", "all wrong", "rescued", "Affinity of the hint", "as a teacher"], rows.map((row) => [
      hintName(row.column), visible(row.level), number(row.problems), within(row.plain, interval(row.plain, row.plain_interval)), within(row.hinted, interval(row.hinted, row.hinted_interval)), number(row.all_wrong),
      row.all_wrong > 0 ? within(row.rescued / row.all_wrong, interval(row.rescued / row.all_wrong, row.rescued_interval)) : "–", row.affinity.toFixed(3), row.teacher_affinity.toFixed(3)])));
}
