// Takes the pictures of README and book: of a terminal and a report, both of one real run.
//
//     node tests/browser/pictures.mjs HINT-RL FOLDER
//
// Writes `terminal.svg` and `report.png` into FOLDER. Needs tmux. CHROMIUM names the browser, `chromium` by default.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./chromium.mjs";

const [program, folder] = process.argv.slice(2);
if (!folder) throw new Error("usage: node tests/browser/pictures.mjs HINT-RL FOLDER");

/** The command of the picture, and the size of its terminal. */
const COMMAND = "hint-rl train --steps 24 --out runs/first";
const [COLUMNS, ROWS] = [80, 26];
/** The picture is taken while HINT is in the step after this one. */
const SHOWN = /^hint +step +5\/24 [^]*sampling.* completions/m;

const dir = mkdtempSync(join(tmpdir(), "hint-rl-pictures-"));
const session = `hint-rl-pictures-${process.pid}`;
const tmux = (...args) => execFileSync("tmux", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
try {
  writeFileSync(join(folder, "terminal.svg"), svg(await screen()));
  const report = join(dir, "report.html");
  execFileSync(program, ["report", join(dir, "runs/first"), `--html=${report}`], { stdio: "inherit" });
  writeFileSync(join(folder, "report.png"), await pictureOf(report));
} finally {
  try {
    tmux("kill-session", "-t", session);
  } catch {
    // It has ended.
  }
  rmSync(dir, { recursive: true, force: true });
}

/** Trains in a terminal. Returns the lines of its screen in the middle of HINT, with their colors, after the end of the run. */
async function screen() {
  const command = COMMAND.replace("hint-rl", `'${program}'`);
  tmux("new-session", "-d", "-s", session, "-x", COLUMNS, "-y", ROWS, "-c", dir, command);
  let lines;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    try {
      if (!lines && SHOWN.test(tmux("capture-pane", "-p", "-t", session))) lines = tmux("capture-pane", "-ep", "-t", session).trimEnd().split("\n");
      tmux("has-session", "-t", session);
    } catch {
      break;
    }
  }
  if (!lines) throw new Error("the run ended before its picture was taken");
  return lines;
}

/** Lines with ANSI colors as a picture. */
function svg(lines) {
  const [wide, high, size] = [8.43, 19, 14];
  const colors = { 31: "#e06c75", 32: "#98c379", 33: "#e5c07b" };
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  let style = {};
  const draw = (line, row) => {
    let column = 0;
    return line.split(/\x1b\[([\d;]*)m/).map((part, at) => {
      if (at % 2 === 1) {
        for (const code of part.split(";").map(Number)) {
          if (code === 0) style = {};
          else if (code === 1) style = { ...style, bold: true };
          else if (code === 2) style = { ...style, dim: true };
          else if (code === 22) style = { color: style.color };
          else if (code === 39 || colors[code]) style = { ...style, color: colors[code] };
        }
        return "";
      }
      const [start, length] = [column, [...part].length];
      column += length;
      if (!part.trim()) return "";
      const fill = style.color ?? (style.dim ? "#8b919c" : "#d7dae0");
      const bold = style.bold ? ' font-weight="700"' : "";
      return `<text x="${(14 + start * wide).toFixed(1)}" y="${28 + row * high}" fill="${fill}"${bold} textLength="${(length * wide).toFixed(1)}" xml:space="preserve">${escaped(part)}</text>`;
    }).join("");
  };
  const [width, height] = [Math.ceil(28 + COLUMNS * wide), 28 + (lines.length + 1) * high];
  const texts = [`\x1b[1m$ ${COMMAND}\x1b[0m`, ...lines].map(draw).filter(Boolean).join("\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Terminal during a run of hint-rl" font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="${size}"><rect width="100%" height="100%" rx="8" fill="#1e222a"/>\n${texts}\n</svg>\n`;
}

/** The verdicts of a report, and below them a problem with and without a hint. */
async function pictureOf(report) {
  const browser = await launch(process.env.CHROMIUM ?? "chromium");
  try {
    const page = await browser.page();
    const show = async (hash) => {
      await page.goto("about:blank");
      await page.goto(pathToFileURL(report).href + hash);
      await page.until("document.documentElement?.dataset.ready");
    };
    await page.resize(1280, 640);
    await show("");
    const verdicts = await page.screenshot();
    await show("#view=completions");
    await page.evaluate("(() => { const field = document.querySelector('#filters [aria-label=Source]'); field.value = '1'; field.dispatchEvent(new Event('change')); })()");
    await page.press("j");
    await page.until("document.querySelectorAll('.sides.pair > section').length === 2");
    for (let round = 0; round < 6 && !(await page.evaluate("document.querySelector('.scale')?.textContent.includes('hint')")); round++) await page.press("c");
    await page.evaluate("new Promise((done) => setTimeout(done, 300))");
    const pair = await page.screenshot();

    await page.goto("about:blank");
    await page.resize(1280, 1283);
    const images = [verdicts, pair].map((image) => `<img style="display: block; margin-bottom: 3px" src="data:image/png;base64,${image.toString("base64")}">`);
    await page.evaluate(`(document.body.style = "margin: 0; background: #ccc", document.body.innerHTML = ${JSON.stringify(images.join(""))})`);
    await page.until("[...document.images].length === 2 && [...document.images].every((image) => image.complete)");
    return await page.screenshot();
  } finally {
    await browser.close();
  }
}
