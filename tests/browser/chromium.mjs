// A headless Chromium, driven over a pipe with the DevTools protocol. Needs Node and a Chromium, and no package.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = [
  "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu",
  "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking", "about:blank",
];

/** Starts the browser `program`, with a profile of its own. */
export async function launch(program) {
  const profile = mkdtempSync(join(tmpdir(), "hint-rl-browser-"));
  const child = spawn(program, [`--user-data-dir=${profile}`, ...FLAGS], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const waiting = new Map();
  const listeners = [];
  let number = 0;
  let rest = "";
  child.stdio[4].setEncoding("utf8").on("data", (chunk) => {
    const messages = (rest + chunk).split("\0");
    rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      if (message.id === undefined) listeners.forEach((listener) => listener(message));
      else {
        const { resolve, reject } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(new Error(message.error.message));
        else resolve(message.result);
      }
    }
  });
  const ended = new Promise((_, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  ended.catch(() => {});
  const send = (method, params = {}, sessionId = undefined) => {
    const id = ++number;
    const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
    child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return Promise.race([answer, ended]);
  };
  const close = async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    send("Browser.close").catch(() => {});
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 3000))]);
    child.kill("SIGKILL");
    // Helpers of the browser may still write for a moment.
    await new Promise((resolve) => setTimeout(resolve, 300));
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  };
  return { close, page: () => openPage(send, listeners) };
}

async function openPage(send, listeners) {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  /** Errors of the console, exceptions, and requests that leave the file. */
  const problems = [];
  listeners.push(({ method, params, sessionId: from }) => {
    if (from !== sessionId) return;
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && params.type === "error") problems.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
    if (method === "Log.entryAdded" && params.entry.level === "error") problems.push(params.entry.text);
    if (method === "Network.requestWillBeSent" && !/^(file|data|blob):/.test(params.request.url)) problems.push(`a request to ${params.request.url}`);
  });
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await call(`${domain}.enable`);

  /** The value of an expression in the page. */
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  /** Waits until an expression is true. */
  const until = async (expression, seconds = 10) => {
    for (const end = Date.now() + 1000 * seconds; Date.now() < end; ) {
      if (await evaluate(`Boolean(${expression})`)) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`not true after ${seconds} s: ${expression}`);
  };
  const press = async (key, text = key.length === 1 ? key : undefined) => {
    const code = { ArrowDown: 40, ArrowUp: 38, ArrowLeft: 37, ArrowRight: 39, Enter: 13, Escape: 27 }[key] ?? key.toUpperCase().charCodeAt(0);
    await call("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", key, text, windowsVirtualKeyCode: code });
    await call("Input.dispatchKeyEvent", { type: "keyUp", key, windowsVirtualKeyCode: code });
  };
  return {
    problems, evaluate, until, press,
    goto: (url) => call("Page.navigate", { url }),
    type: (text) => call("Input.insertText", { text }),
    move: (x, y) => call("Input.dispatchMouseEvent", { type: "mouseMoved", x, y }),
    resize: (width, height, mobile = false) => call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile }),
    scheme: (value) => call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] }),
    screenshot: async () => Buffer.from((await call("Page.captureScreenshot", { format: "png" })).data, "base64"),
  };
}
