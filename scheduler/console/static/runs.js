/** The list of runs. */

import { badge, bar, labelled } from "./badges.js";
import { h, shown } from "./dom.js";
import { link, onNews, runs } from "./live.js";
import { ago, count, DASH, rate } from "./words.js";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export function runsPage(main, signal) {
  const list = h("div", { class: "card flush" });
  main.append(
    h("div", { class: "head" }, h("h1", {}, "Runs"), h("a", { class: "button primary", href: "#/new-run" }, "New run")),
    list,
  );
  const update = shown(list);
  const show = () => {
    const all = [...runs.values()].sort((one, other) => other.created_at - one.created_at);
    update([link.known, all.map(facts)], () => (all.length ? table(all) : nothing()));
  };
  onNews(signal, show);
  show();
  return "Runs";
}

/** What of a run the list shows. */
const facts = (run) => [run.run_id, run.state, run.queue?.position, run.waiting_for, run.step, run.spend, run.skip_rates, Math.floor(Date.now() / 60000)];

function nothing() {
  if (!link.known) return h("p", { class: "empty" }, "Asking the scheduler…");
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "There is no run yet."),
    h("p", { class: "hint" }, "A run trains on a pool of prompts: ", h("a", { href: "#/pools/new" }, "create a pool"), ", then ", h("a", { href: "#/new-run" }, "a run"), "."),
  );
}

/** @param {any[]} all */
function table(all) {
  const names = ["Run", "State", "Pool", "Allocator"];
  return h(
    "table",
    { class: "stacks" },
    h("thead", {}, h("tr", {}, names.map((name) => h("th", {}, name)), ["Step", "Rollouts", "Skip rate", "Created"].map((name) => h("th", { class: "num" }, name)))),
    h("tbody", {}, all.map(row)),
  );
}

/** @param {any} run */
function row(run) {
  const limit = run.config.budget.rollouts;
  const skipped = Object.values(run.skip_rates).reduce((sum, share) => sum + share, 0);
  return h(
    "tr",
    {},
    h("td", { class: "lead word" }, h("a", { href: `#/runs/${encodeURIComponent(run.run_id)}`, id: `run-${run.run_id}` }, run.run_id), h("div", { class: "hint" }, labelled(run.config.servers))),
    h("td", { "data-label": "State" }, h("span", {}, badge(run.state), run.queue?.behind.length > 0 && h("span", { class: "hint" }, ` place ${run.queue.position}`)), run.waiting_for && h("div", { class: "hint clip", title: run.waiting_for }, run.waiting_for)),
    h("td", { "data-label": "Pool" }, run.pools.map((/** @type {any} */ pool) => pool.name).join(" + "), run.config.mode === "profile" && h("div", { class: "hint" }, "profile")),
    h("td", { class: "word", "data-label": "Allocator" }, run.allocator),
    h("td", { class: "num", "data-label": "Step" }, count(run.step)),
    h("td", { class: "num", "data-label": "Rollouts" }, spend(run.spend.rollouts, limit)),
    h("td", { class: "num", "data-label": "Skip rate" }, run.considered && run.config.mode !== "profile" ? rate(skipped) : DASH),
    h("td", { class: "num", "data-label": "Created" }, ago(run.created_at)),
  );
}

/** @param {number} spent @param {number | null} limit */
function spend(spent, limit) {
  if (limit === null) return count(spent);
  const told = `${count(spent)} of ${count(limit)}`;
  return [told, bar([{ share: spent / limit, tone: "commit", title: told }], told)];
}
