/**
 * What the scheduler is doing now.
 *
 * Owns: the stream of live updates and the newest state of runs and fleet. Invariant: a stream that ends, fails or falls
 * silent is opened again, and the page says so meanwhile.
 */

import { Problem, send } from "./api.js";

/** @type {Map<string, any>} */
export const runs = new Map();
/** @type {{servers: any[]}} */
export const fleet = { servers: [] };
/** What keeps news from coming; empty while they do. `known` after the first. */
export const link = { trouble: "", known: false };

const news = new EventTarget();
const SILENCE_MS = 15000;

/** Call back whenever something has changed, until the signal. @param {AbortSignal} signal @param {() => void} listener */
export function onNews(signal, listener) {
  news.addEventListener("news", listener, { signal });
}

const tell = () => news.dispatchEvent(new Event("news"));

/** Take an answer to an order at once, before the stream tells of it. @param {any} run */
export function took(run) {
  runs.set(run.run_id, run);
  tell();
}

/** Follow the stream for as long as the page is there. Waits for: news, or a while after each failure. */
export async function follow() {
  for (let failures = 0; ; ) {
    try {
      await readStream(() => {
        failures = 0;
      });
    } catch (error) {
      failures += 1;
      link.trouble = error instanceof Problem ? error.message : "No news from the scheduler.";
      tell();
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(10000, 500 * 2 ** failures)));
  }
}

/** @param {() => void} heard */
async function readStream(heard) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  const response = await send("GET", "/v1/events", { signal: silence.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    clearTimeout(timer);
    if (done) return;
    heard();
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const events = (text + value).split("\n\n");
    text = events.pop();
    events.forEach(take);
    tell();
  }
}

/** @param {string} event */
function take(event) {
  const name = /^event: (.*)$/m.exec(event)?.[1];
  const data = /^data: (.*)$/m.exec(event)?.[1];
  link.trouble = "";
  if (!name || !data) return;
  const found = JSON.parse(data);
  if (name === "run") runs.set(found.run_id, found);
  else if (name === "servers") fleet.servers = found.servers;
  else if (name === "trouble") link.trouble = found.detail;
  link.known ||= name !== "trouble";
}
