// What the other parts share: data of the file, elements, numbers, what is chosen.
// Texts that a run wrote become text nodes, never markup.

const $ = (id) => document.getElementById(id);

/** The JSON of a block: Base64 of gzip. */
async function unpack(id) {
  const text = $(id).textContent;
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** An element, with attributes or listeners (`onclick`), and children: elements, texts, or nothing. */
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

/** A text with control characters, and marks that change its direction, made visible. */
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) => {
    const code = char.codePointAt(0);
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** A text whose names are marked with backticks. */
const coded = (text) => visible(text).split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));

/** A number with three or four digits that count. */
function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e4) return String(value).replace("-", "−");
  if (size < 0.001) {
    const [digits, power] = value.toExponential(1).split("e");
    const raised = [...power.replace("+", "")].map((char) => (char === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[char])).join("");
    return `${digits.replace("-", "−")}·10${raised}`;
  }
  if (size >= 1e6) return `${(value / 1e6).toFixed(size >= 1e8 ? 0 : 1)} M`;
  if (size >= 1e4) return `${(value / 1e3).toFixed(size >= 1e5 ? 0 : 1)} k`;
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(digits).replace("-", "−");
}

/** A number in the unit of a chart. */
function inUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "share" || unit === "share_difference") {
    const percent = 100 * value;
    const digits = percent !== 0 && Math.abs(percent) < 1 ? 2 : Math.abs(percent) < 99.95 ? 1 : 0;
    return `${percent.toFixed(digits).replace("-", "−")} %`;
  }
  const name = { nats: " nats", tokens: " tokens", seconds: " s" }[unit] ?? "";
  return number(value) + name;
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A time in seconds since 1970, as a reader's clock shows it. */
const date = (seconds) => new Date(1000 * seconds).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });

/** The color of the curve with this index. */
const color = (index) => `var(--c${index % 7})`;

// What is chosen. It is in the address, so that a link or a reload shows the same.
const DEFAULTS = {
  view: "curves", x: "steps", smooth: "1", hide: "", run: "", kind: "", verdict: "", source: "", level: "", difficulty: "",
  from: "", to: "", q: "", open: "", color: "", pair: "1", side: "plain", live: "",
};
const state = { ...DEFAULTS };

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(DEFAULTS)) state[key] = given.get(key) ?? DEFAULTS[key];
}

function setState(changes) {
  Object.assign(state, changes);
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
}

/** A row of buttons, of which one is pressed. */
function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, name]) =>
    el("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, name));
  return el("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** Shows the tip beside a point of the window. */
function showTip(x, y, ...content) {
  const tip = $("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
  const top = Math.min(y + 14, innerHeight - height - 6);
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${Math.max(6, top)}px`;
}

function hideTip() {
  $("tip").hidden = true;
}
