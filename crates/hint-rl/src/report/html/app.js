// Starts the page: views, theme, keyboard.

const SHORTCUTS = [
  ["1 2 3", "Curves, completions, audit"],
  ["j k, ↓ ↑", "Next group, previous group"],
  ["n p", "Next completion, previous completion of the group"],
  ["Enter, →", "Go from the list to the group"],
  ["Esc, ←", "Go back: to the list, out of the search"],
  ["/", "Search"],
  ["c", "Color tokens by the next measure"],
  ["s", "Plain and hinted side by side, or one after the other"],
  ["x", "Steps or sampled tokens on the horizontal axis"],
  ["← →", "Move along a chart that has the focus"],
  ["t", "Light or dark"],
  ["?", "This list"],
];

const VIEWS = ["curves", "completions", "audit"];
/** The views that the file has something for. */
const views = () => VIEWS.filter((view) => (view === "audit" ? audit : overview.runs.length));

function showView(chosen) {
  const view = views().includes(chosen) ? chosen : views()[0];
  setState({ view });
  for (const name of VIEWS) {
    const tab = $(`tab-${name}`);
    tab.hidden = !views().includes(name);
    $(name).hidden = name !== view;
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
  }
  if (view === "audit" && !$("audit").children.length) showAudit();
  if (view === "completions" && !state.open && listed.length && innerWidth > 860) open(listed[0], false);
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  try {
    if (theme) localStorage.setItem("hint-rl-theme", theme);
  } catch {
    // Storage may be off for files; the choice then lasts as long as the page.
  }
}

function storedTheme() {
  try {
    return localStorage.getItem("hint-rl-theme");
  } catch {
    return null;
  }
}

function toggleTheme() {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
}

function showHelp() {
  $("help").replaceChildren(
    el("h2", { id: "help-title" }, "Keyboard"),
    el("dl", {}, SHORTCUTS.map(([keys, about]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, about)])),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  $("help").showModal();
}

function moveCompletion(by) {
  const all = [...document.querySelectorAll(".completion")];
  const at = all.indexOf(document.activeElement?.closest?.(".completion"));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function press(selector) {
  document.querySelector(selector)?.click();
}

function nextColor() {
  const buttons = [...document.querySelectorAll('[aria-label="Color of tokens"] button')];
  const at = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
  buttons[(at + 1) % buttons.length]?.click();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const field = event.target.closest?.("input, select, textarea");
  if (field) {
    if (event.key === "Escape") {
      field.blur();
      $("list").focus();
    } else if (field.id === "search" && ["ArrowDown", "Enter"].includes(event.key)) {
      event.preventDefault();
      $("list").focus();
      if (!listed.includes(positionOf(state.open))) step(1);
    }
    return;
  }
  const inBrowser = state.view === "completions";
  const actions = {
    1: () => showView("curves"),
    2: () => showView("completions"),
    3: () => showView("audit"),
    "?": showHelp,
    t: toggleTheme,
    x: () => {
      setState({ x: state.x === "steps" ? "tokens" : "steps" });
      showControls();
      showCharts();
    },
    "/": () => {
      showView("completions");
      document.querySelector(".browser").classList.remove("open");
      $("search").focus();
      $("search").select();
    },
    ...(inBrowser && {
      j: () => step(1),
      k: () => step(-1),
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      n: () => moveCompletion(1),
      p: () => moveCompletion(-1),
      c: nextColor,
      s: () => press(".tokenbar input[type=checkbox]"),
      Enter: enterGroup,
      ArrowRight: enterGroup,
      ArrowLeft: closeGroup,
      Escape: closeGroup,
    }),
  };
  const action = actions[event.key];
  // Arrow keys scroll a group that has the focus.
  if (!action || (event.key.startsWith("Arrow") && event.target.closest?.("#group") && event.key !== "ArrowLeft")) return;
  if (event.key === "Enter" && event.target.closest?.("button, a, summary")) return;
  event.preventDefault();
  action();
}

function enterGroup() {
  const at = positionOf(state.open);
  if (at < 0) return step(1);
  open(at, true);
  $("group").focus();
}

async function start() {
  setTheme(storedTheme());
  readState();
  [overview, index, audit] = await Promise.all([unpack("overview"), unpack("index"), $("audit-data") && unpack("audit-data")]);
  $("written").textContent = `as of ${date(overview.written)}`;
  showRuns();
  showControls();
  showCharts();
  showFilters();
  showList();
  showView(state.view);
  const at = positionOf(state.open);
  if (at >= 0) await open(at, state.view === "completions");
  if (state.q) search(state.q);
  for (const name of VIEWS) $(`tab-${name}`).addEventListener("click", () => showView(name));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.stopPropagation();
    const by = event.key === "ArrowRight" ? 1 : views().length - 1;
    showView(views()[(views().indexOf(state.view) + by) % views().length]);
    $(`tab-${state.view}`).focus();
  });
  $("theme").addEventListener("click", toggleTheme);
  $("keys").addEventListener("click", showHelp);
  document.addEventListener("keydown", onKey);
  document.addEventListener("scroll", hideTip, { capture: true, passive: true });
  const more = () => {
    const list = $("list");
    const last = list.lastElementChild?.getBoundingClientRect();
    if (last && last.top < innerHeight + 600 && list.querySelectorAll("li").length < listed.length) extendList();
  };
  document.addEventListener("scroll", more, { capture: true, passive: true });
  setInterval(() => state.live === "1" && location.reload(), 30_000);
  performance.mark("ready");
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  $("runs").replaceChildren(el("p", { class: "note", role: "alert" }, `The data of this file cannot be read: ${error.message}. `,
    "It needs a browser of 2023 or newer, and the whole file."));
  throw error;
});
