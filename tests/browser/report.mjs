// Opens a report in a real browser, uses it as a reader would, and fails if anything of it does not work.
//
//     node tests/browser/report.mjs REPORT.html [SCREENSHOTS]
//
// CHROMIUM names the browser, `chromium` by default. SCREENSHOTS is a folder for pictures.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { launch } from "./chromium.mjs";

const [file, pictures] = process.argv.slice(2);
if (!file) throw new Error("usage: node tests/browser/report.mjs REPORT.html [SCREENSHOTS]");
if (pictures) mkdirSync(pictures, { recursive: true });
const html = readFileSync(file, "utf8");
const READY = "document.documentElement?.dataset.ready";

const browser = await launch(process.env.CHROMIUM ?? "chromium");
try {
  const overview = blockOf(html, "overview");
  const index = blockOf(html, "index");
  const completions = index.rows.reduce((sum, row) => sum + row[5].reduce((all, count) => all + count, 0), 0);
  say(`${(html.length / 2 ** 20).toFixed(2)} MiB, ${overview.runs.length} runs, ${index.rows.length} groups, ${completions} completions`);
  await opensSoon();
  await showsVerdicts(overview);
  await showsCurves(overview);
  await showsTheAudit();
  await browsesGroups(index);
  await isReadableOnAPhone();
  await showsTextsAsText();
  say("all checks passed");
} finally {
  await browser.close();
}

function say(line) {
  process.stdout.write(`${line}\n`);
}

function blockOf(page, id) {
  const [, text] = page.match(new RegExp(`id="${id}">([^<]*)<`));
  return JSON.parse(gunzipSync(Buffer.from(text, "base64")));
}

async function shown(url, width = 1280, height = 800, mobile = false) {
  const page = await browser.page();
  await page.resize(width, height, mobile);
  await page.goto(url);
  await page.until(READY);
  await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
  return page;
}

function address(hash = "") {
  return pathToFileURL(resolve(file)).href + hash;
}

async function picture(page, name) {
  if (pictures) writeFileSync(join(pictures, `${name}.png`), await page.screenshot());
}

/** From the start of the navigation to a page that reacts: the median of five. */
async function opensSoon() {
  const times = [];
  for (let round = 0; round < 5; round++) {
    const page = await shown(address());
    times.push(await page.evaluate("performance.measure('open', { start: 0, end: 'ready' }).duration"));
    assert.deepEqual(page.problems, []);
  }
  times.sort((one, other) => one - other);
  say(`opens in ${times[2].toFixed(0)} ms (${times[0].toFixed(0)} to ${times[4].toFixed(0)})`);
  assert.ok(times[2] < 1000, "the page takes more than a second");
}

/** Each run has its verdict at once, with evidence, advice, and groups that a click opens. */
async function showsVerdicts(overview) {
  const page = await shown(address());
  const tags = await page.evaluate("[...document.querySelectorAll('#runs > .run')].map((run) => run.querySelector('.verdict')).map((tag) => [tag?.textContent, tag?.checkVisibility()])");
  assert.deepEqual(tags, overview.runs.map((run) => [run.verdict.condition ?? "too early", true]));
  await page.evaluate("document.querySelectorAll('details.run').forEach((run) => (run.open = true))");
  const findings = overview.runs.flatMap((run) => run.verdict.findings);
  const shownFindings = await page.evaluate("[...document.querySelectorAll('.finding')].map((one) => [...one.querySelectorAll('p')].map((p) => p.textContent))");
  const plain = (text) => text.replaceAll("`", "");
  assert.deepEqual(shownFindings, findings.map((one) => [plain(`${one.condition} ${one.evidence} ${one.steps}`), plain(`Try: ${one.advice}`)]));
  const examples = findings.flatMap((one) => one.examples);
  assert.equal(await page.evaluate("document.querySelectorAll('.example:not(:disabled)').length"), examples.length);
  say(`${findings.length} findings with ${examples.length} groups`);
  await picture(page, "verdicts");
  if (examples.length) {
    await page.evaluate("document.querySelector('.example').click()");
    await page.until("document.querySelector('#group h2')");
    const place = `${examples[0].evaluated ? "Evaluation at step" : "Step"} ${examples[0].step} · ${examples[0].problem}`;
    assert.ok((await page.evaluate("document.querySelector('#group h2').textContent")).includes(place), place);
    assert.equal(await page.evaluate("document.querySelector('#completions').hidden"), false);
  }
  assert.deepEqual(page.problems, []);
}

/** The audit is a view of its own, if the file has one. */
async function showsTheAudit() {
  const page = await shown(address());
  const has = html.includes('id="audit-data"');
  assert.equal(await page.evaluate("document.querySelector('#tab-audit').hidden"), !has);
  if (!has) return say("no audit in this file");
  const audit = blockOf(html, "audit-data");
  await page.press("3");
  assert.equal(await page.evaluate("document.querySelector('#audit').hidden"), false);
  const first = audit.hints.columns[0];
  const cells = await page.evaluate("[...document.querySelector('#audit [aria-label=Hints] tbody tr').children].map((cell) => cell.textContent)");
  assert.equal(cells[0], first.column ?? "hint");
  [first.problems, first.hints, first.blank.length, first.answer, first.step, first.wrong.length]
    .forEach((count, at) => assert.equal(Number(cells[at + 1].split(" ")[0]), count, cells.join(" | ")));
  await page.evaluate("document.querySelectorAll('#audit details').forEach((one) => (one.open = true))");
  const leaks = audit.hints.columns.flatMap((one) => one.leaks);
  const marks = await page.evaluate("[...document.querySelectorAll('#audit mark')].map((mark) => mark.textContent)");
  if (leaks.length) assert.equal(marks[0], leaks[0].leaks[0].text);
  if (audit.trial) await page.until("document.querySelector('#audit [aria-label=Trial] svg')");
  await isWhole(page);
  await picture(page, "audit");
  await page.resize(390, 844, true);
  assert.ok(await page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "the audit is wider than a phone");
  assert.deepEqual(page.problems, []);
}

async function showsCurves(overview) {
  const page = await shown(address());
  const titles = await page.evaluate("[...document.querySelectorAll('.chart h3')].map((title) => title.textContent)");
  for (const spec of overview.charts) {
    assert.ok(titles.some((title) => title.startsWith(spec.title)), `no chart ${spec.title}`);
  }
  await page.until("[...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('svg'))");
  await isWhole(page);
  await picture(page, "curves-light");
  const frame = await page.evaluate("((chart) => { chart.scrollIntoView({ block: 'center' }); const { x, y, width, height } = chart.getBoundingClientRect(); return [x + width / 2, y + height / 2]; })(document.querySelector('.chart svg[role=img]'))");
  await page.evaluate("new Promise((done) => setTimeout(done, 100))"); // Scrolling hides the tip.
  await page.move(...frame);
  await page.until("!document.querySelector('#tip').hidden");
  assert.match(await page.evaluate("document.querySelector('#tip').textContent"), /step \d+/);
  await page.press("x");
  assert.match(await page.evaluate("location.hash"), /x=tokens/);
  assert.ok(await page.evaluate("[...document.querySelectorAll('.chart svg text')].some((text) => text.textContent === 'sampled tokens')"));
  await page.press("t");
  assert.equal(await page.evaluate("document.documentElement.dataset.theme"), "dark");
  await picture(page, "curves-dark");
  await page.press("t");
  await page.evaluate("document.querySelector('#more').open = true");
  await page.until("document.querySelectorAll('#more .chart').length > 5");
  await page.press("?");
  assert.ok(await page.evaluate("document.querySelector('#help').open"));
  await isWhole(page);
  await picture(page, "help");
  await page.press("Escape");
  assert.deepEqual(page.problems, []);
}

/** Nothing that is shown is left over from a mistake of the script. */
async function isWhole(page) {
  const shown = await page.evaluate("document.querySelector('main').innerText + document.querySelector('dialog').innerText + [...document.querySelectorAll('svg')].map((one) => one.outerHTML).join('')");
  for (const bad of ["NaN", "undefined", "Infinity", "[object", "null"]) assert.ok(!shown.includes(bad), bad);
}

async function browsesGroups(index) {
  const page = await shown(address(), 1440, 900);
  const count = async () => Number((await page.evaluate("document.querySelector('#status').textContent")).match(/^[\d,]+/)[0].replaceAll(",", ""));
  const heading = () => page.evaluate("document.querySelector('#group h2')?.textContent");
  await page.press("2");
  await page.until("document.querySelector('#group h2')");
  assert.equal(await count(), index.rows.length);
  const first = await heading();
  await page.press("j");
  await page.until(`document.querySelector('#group h2').textContent !== ${JSON.stringify(first)}`);
  await page.press("k");
  await page.until(`document.querySelector('#group h2').textContent === ${JSON.stringify(first)}`);

  // Each filter shows what the index says.
  const select = async (label, value) => {
    await page.evaluate(`(() => { const field = document.querySelector('#filters [aria-label="${label}"]'); field.value = "${value}"; field.dispatchEvent(new Event("change")); })()`);
  };
  for (const [label, at, has] of [
    ["Kind of group", index.rows[0][4], (row, value) => row[4] === value],
    ["Verdict", 1, (row, value) => row[5][value] > 0],
    ["Source", 1, (row, value) => row[6] & (1 << value)],
    ["first step", index.rows.at(-1)[1], (row, value) => row[1] >= value],
  ]) {
    const expected = index.rows.filter((row) => has(row, at)).length;
    if (!expected) continue;
    await select(label, at);
    assert.equal(await count(), expected, label);
    await select(label, "");
  }
  assert.equal(await count(), index.rows.length);

  // The pair view: a group with both sides. Runs without hints, and runs whose hints teach, have none.
  const hinted = index.rows.filter((row) => row[6] & 2);
  const hasPairs = hinted.length > 0 && hinted.every((row) => row[6] & 1);
  if (hasPairs) {
    await select("Source", 1);
    await page.press("j");
    await page.until("document.querySelectorAll('.sides.pair > section').length === 2");
  } else say("no pairs in this file");

  // Colors and their scale. Evaluations are greedy by default: every token was certain.
  const trained = index.rows.filter((row) => index.kinds[row[4]] !== "evaluation");
  if (trained.length > 0) await showsColors(page, trained[0][4], hasPairs, select);
  else say("no completions that train in this file");
  await page.press("n");
  assert.ok(await page.evaluate("document.activeElement.classList.contains('completion')"));
  await select("Source", "");
  await select("Kind of group", "");

  // Texts are searched in every shard.
  const wanted = blockOf(html, `shard-${index.rows.at(-1)[9]}`)[index.rows.at(-1)[10]];
  const text = (wanted.completions[0].text + (wanted.completions[0].tokens ?? []).join("")).slice(0, 40).trim();
  await page.press("/");
  assert.equal(await page.evaluate("document.activeElement.id"), "search");
  const began = Date.now();
  await page.type(text);
  await page.until("location.hash.includes('q=')");
  await page.until("/^[1-9][\\d,]* shown[^…]*$/.test(document.querySelector('#status').textContent)", 30);
  say(`searched all texts in ${Date.now() - began} ms`);
  assert.ok((await count()) < index.rows.length || index.rows.length < 3, "the search keeps every group");
  await page.press("Enter");
  await page.until("document.querySelector('#group').textContent.length > 0");
  await page.until("!CSS.highlights || [...(CSS.highlights.get('found') ?? [])].length > 0");
  await picture(page, "search");
  const before = await page.evaluate("location.hash");
  await page.goto("about:blank");
  await page.goto(address(before));
  await page.until(READY);
  assert.equal(await page.evaluate("document.querySelector('#search').value"), text);
  assert.deepEqual(page.problems, []);
}

/** Tokens of a group of this kind, or of a pair, in color, with the measurements of one of them. */
async function showsColors(page, kind, isPair, select) {
  if (!isPair) {
    await select("Kind of group", kind);
    await page.press("j");
  }
  await page.press("c");
  await page.press("c");
  const colored = "document.querySelector('.scale') && [...document.querySelectorAll('.tokens span')].some((token) => token.style.backgroundColor)";
  for (let round = 0; round < 6 && !(await page.evaluate(colored)); round++) await page.press("c");
  assert.ok(await page.evaluate(colored), "no color of tokens");
  assert.ok(await page.evaluate("document.querySelector('.completion .tag').textContent.length > 2"));
  await isWhole(page);
  await page.evaluate("document.querySelector('.tokens span').scrollIntoView({ block: 'center' })");
  await page.evaluate("new Promise((done) => setTimeout(done, 100))"); // Scrolling hides the tip.
  await page.move(...(await page.evaluate("(({ x, y, width, height }) => [x + width / 2, y + height / 2])(document.querySelector('.tokens span').getBoundingClientRect())")));
  await page.until("!document.querySelector('#tip').hidden");
  assert.match(await page.evaluate("document.querySelector('#tip').textContent"), /token1.*probability.* %/);
  await page.move(5, 5);
  await picture(page, isPair ? "pair-light" : "group-light");
  await page.press("t");
  await picture(page, isPair ? "pair-dark" : "group-dark");
  await page.press("t");
  await page.press("s");
  assert.equal(await page.evaluate("document.querySelectorAll('.sides.pair').length"), 0);
  await page.press("s");
}

async function isReadableOnAPhone() {
  // Nothing reaches beyond the right edge.
  const fits = "[...document.querySelectorAll('main *, header *')].every((one) => one.closest('[hidden], svg, pre') || one.getBoundingClientRect().right <= innerWidth + 1)";
  const page = await shown(address(), 390, 844, true);
  await page.evaluate("localStorage.clear(); document.documentElement.removeAttribute('data-theme')");
  await page.scheme("dark");
  assert.ok(await page.evaluate(fits), "the curves are wider than a phone");
  await picture(page, "phone-curves");
  await page.press("2");
  await page.until("document.querySelector('#list li')");
  assert.ok(await page.evaluate(fits), "the list is wider than a phone");
  await picture(page, "phone-list");
  await page.evaluate("document.querySelector('#list li').click()");
  await page.until("document.querySelector('#group h2')");
  assert.ok(await page.evaluate(fits), "a group is wider than a phone");
  assert.ok(await page.evaluate("document.querySelector('.completion').getBoundingClientRect().top < 1.5 * innerHeight"), "completions are far below");
  await picture(page, "phone-group");
  await page.evaluate("document.querySelector('.back').click()");
  assert.ok(await page.evaluate("document.querySelector('#list').offsetHeight > 0"));
  assert.deepEqual(page.problems, []);
}

/** Every text of the file is replaced by one that would break out of a careless page. */
async function showsTextsAsText() {
  const nasty = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>\u0000\u001b[31m\u202eabc";
  const replaced = (value, key) => {
    if (typeof value === "string") return nasty;
    if (Array.isArray(value)) return value.map((one) => replaced(one, key));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, replaced(one, name)]));
    return value;
  };
  const texts = { overview: ["name", "method", "model", "problems", "verdict", "facts", "config", "series"], index: ["problems"] };
  const changed = html.replace(/id="(overview|index|shard-\d+)">([^<]*)</g, (_, id, text) => {
    const data = JSON.parse(gunzipSync(Buffer.from(text, "base64")));
    let result = data;
    if (id === "overview") {
      for (const run of data.runs) run.state.words = nasty;
      for (const run of data.runs) for (const name of texts.overview) if (typeof run[name] !== "number") run[name] = replaced(run[name]);
      data.series = replaced(data.series);
    } else if (id === "index") data.problems = replaced(data.problems);
    else {
      const kept = ["role", "source", "verdict", "rule", "level"];
      result = data.map((group) => ({ ...replaced(group), completions: group.completions.map((one) => ({
        ...replaced(one), ...Object.fromEntries(kept.map((name) => [name, one[name]])), parts: { [nasty]: 1, b: 2 } })) }));
    }
    return `id="${id}">${gzipSync(JSON.stringify(result)).toString("base64")}<`;
  });
  const copy = join(mkdtempSync(join(tmpdir(), "hint-rl-report-")), "nasty.html");
  writeFileSync(copy, changed);
  const page = await shown(pathToFileURL(copy).href, 1280, 800);
  await page.press("2");
  await page.until("document.querySelector('.completion')");
  assert.equal(await page.evaluate("window.broken"), undefined);
  assert.equal(await page.evaluate("document.querySelectorAll('img').length"), 0);
  assert.ok(await page.evaluate("document.querySelector('.completion').textContent.includes('</script>')"));
  assert.ok(await page.evaluate("document.querySelector('.completion').textContent.includes('␛[31m')"), "an escape is not shown");
  assert.ok(await page.evaluate("document.querySelector('.completion').textContent.includes('⟨U+202E⟩')"), "a mark is not shown");
  assert.ok(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "long texts widen the page");
  await picture(page, "nasty");
  assert.deepEqual(page.problems, []);
}
