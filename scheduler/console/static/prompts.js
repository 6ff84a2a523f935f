/** The prompts of a run, to look through. */

import { get, part } from "./api.js";
import { badge } from "./badges.js";
import { h, replace } from "./dom.js";
import { onNews, runs } from "./live.js";
import { runHead } from "./run.js";
import { count, decimal, plural, rate, spaced } from "./words.js";

const STATES = [["", "every state"], ["ready", "ready"], ["claimed", "in a visit"], ["waiting", "waiting"], ["quarantined", "quarantined"]];
const VERDICTS = [["", "any verdict"], ["commit", "commit"], ["skip", "skip"], ["defer", "defer"], ["evict", "evict"]];

/** @param {HTMLElement} main @param {AbortSignal} signal @param {string} runId */
export function promptsPage(main, signal, runId) {
  const rows = h("tbody");
  const foot = h("div", { class: "foot" });
  const filters = h(
    "form",
    { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault(), oninput: () => begin() },
    h("input", { type: "search", name: "like", "aria-label": "Part of an id", placeholder: "Part of an id  ( / )", "data-shortcut": "/", autocomplete: "off", spellcheck: "false" }),
    select("state", "State", STATES),
    select("verdict", "Last verdict", VERDICTS),
    h("span", { class: "grow" }),
    h("span", { class: "hint", id: "sizes" }),
  );
  main.append(
    runHead(runId, "Prompts", signal),
    filters,
    h("div", { class: "card flush" }, h("table", { class: "stacks" }, h("thead", {}, h("tr", {}, ["Prompt", "State", "Last verdict", "Why"].map((name) => h("th", {}, name)), ["Success rate", "Informativeness", "Visits", "Rollouts"].map((name) => h("th", { class: "num" }, name)))), rows), foot),
  );

  let asked = 0;
  const begin = () => {
    const mine = ++asked;
    setTimeout(() => mine === asked && look(mine, 0), 120);
  };
  const look = async (/** @type {number} */ mine, /** @type {number} */ offset) => {
    const wanted = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value !== ""));
    wanted.set("offset", String(offset));
    try {
      const page = await get(`/v1/runs/${part(runId)}/prompts?${wanted}`, signal);
      if (mine !== asked) return;
      if (!offset) replace(rows);
      rows.append(...page.prompts.map((prompt) => row(runId, prompt)));
      replace(foot, end(page, rows.childElementCount, () => look(mine, page.next_offset)));
    } catch (problem) {
      if (!signal.aborted && mine === asked) replace(foot, h("p", { class: "wrong", role: "alert" }, problem.message));
    }
  };
  const sizes = () => {
    const found = runs.get(runId)?.prompts;
    if (found) replace(filters.querySelector("#sizes"), Object.entries(found).filter(([, size]) => size).map(([state, size]) => `${count(size)} ${state}`).join(" · "));
  };
  onNews(signal, sizes);
  sizes();
  look(asked, 0);
  return `Prompts of ${runId}`;
}

/** @param {string} name @param {string} label @param {string[][]} options */
const select = (name, label, options) =>
  h("select", { name, "aria-label": label }, options.map(([value, text]) => h("option", { value }, text)));

/** @param {string} runId @param {any} prompt */
function row(runId, prompt) {
  const returns = prompt.state === "waiting" && (prompt.next_version === null ? "never returns" : `returns at v${prompt.next_version}`);
  return h(
    "tr",
    {},
    h("td", { class: "lead id" }, h("a", { href: `#/runs/${part(runId)}/prompts/${part(prompt.prompt_id)}` }, prompt.prompt_id)),
    h("td", { class: "word", "data-label": "State" }, badge(prompt.state), returns && h("div", { class: "hint" }, returns)),
    h("td", { "data-label": "Last verdict" }, badge(prompt.last_verdict) ?? h("span", { class: "hint" }, "none")),
    h("td", { class: "hint", "data-label": "Why" }, spaced(prompt.reason)),
    h("td", { class: "num", "data-label": "Success rate" }, rate(prompt.success_rate)),
    h("td", { class: "num", "data-label": "Informativeness" }, decimal(prompt.informativeness, 3)),
    h("td", { class: "num", "data-label": "Visits" }, count(prompt.visits)),
    h("td", { class: "num", "data-label": "Rollouts" }, count(prompt.num_rollouts)),
  );
}

/** @param {any} page @param {number} found @param {() => void} more */
function end(page, found, more) {
  if (page.next_offset !== null) {
    return [h("span", { class: "hint" }, `${plural(found, "prompt")} so far`), h("button", { type: "button", id: "more", onclick: more }, "More")];
  }
  return found ? h("span", { class: "hint" }, `${plural(found, "prompt")}, that is all`) : h("p", { class: "empty" }, "No prompt is like that.");
}
