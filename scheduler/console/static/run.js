/** A run: where it stands, its charts, its books, and what can be ordered. */

import { get, part } from "./api.js";
import { badge, bar, labelled } from "./badges.js";
import { Curves } from "./curves.js";
import { h, replace, shown } from "./dom.js";
import { controls } from "./controls.js";
import { ledgerCard } from "./ledger.js";
import { link, onNews, runs } from "./live.js";
import { profileCard } from "./profile.js";
import { clock, count, DASH, duration, rate, spaced } from "./words.js";

export const ENDED = new Set(["finished", "exhausted", "cancelled", "failed"]);

/** The head that all pages of a run have. @param {string} runId @param {string} here @param {AbortSignal} signal */
export function runHead(runId, here, signal) {
  const title = h("div", { class: "title" });
  const orders = h("div", { class: "orders" });
  const [showTitle, showOrders] = [shown(title), shown(orders)];
  const address = `#/runs/${part(runId)}`;
  const tab = (/** @type {string} */ name, /** @type {string} */ to) =>
    h("a", { href: to, "aria-current": name === here && "page" }, name);
  const show = () => {
    const run = runs.get(runId);
    showTitle([run?.state, run?.queue?.position, run?.waiting_for, run?.reason, link.known], () => [
      h("h1", {}, runId, " ", badge(run?.state ?? null)),
      h("p", { class: "hint" }, run ? why(run) : link.known ? "This scheduler has no such run." : "Asking the scheduler…"),
    ]);
    if (run) showOrders([run.state, run.config.budget], () => (ENDED.has(run.state) ? null : controls(run)));
  };
  onNews(signal, show);
  show();
  return h(
    "div",
    {},
    h("div", { class: "head" }, title, orders),
    h("nav", { class: "tabs", "aria-label": "Run" }, tab("Overview", address), tab("Prompts", `${address}/prompts`), tab("Events", `${address}/events`)),
  );
}

/** @param {any} run */
function why(run) {
  if (ENDED.has(run.state)) return run.reason ? `Ended: ${run.reason}.` : "It has ended.";
  if (run.queue?.behind.length) return `Place ${run.queue.position} in the queue: it waits for ${run.waiting_for}.`;
  if (run.waiting_for) return `Waits for ${run.waiting_for}.`.replace("Waits for paused", "It is paused");
  return run.state === "queued" ? "Its turn has come." : "Work flows.";
}

/** @param {HTMLElement} main @param {AbortSignal} signal @param {string} runId */
export function runPage(main, signal, runId) {
  const tiles = h("div", { class: "tiles" });
  const books = h("div", {});
  const asked = h("section", { class: "card" });
  const curves = new Curves(runId, signal);
  const [profile, mix] = [h("div", {}), h("div", {})];
  main.append(runHead(runId, "Overview", signal), tiles, profile, h("div", { class: "charts" }, curves.elements), mix, books, asked);
  const [showTiles, showMix, showAsked] = [shown(tiles), shown(mix), shown(asked)];
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    try {
      replace(books, ledgerCard(await get(`/v1/runs/${part(runId)}/ledger`, signal)));
      const run = runs.get(runId);
      if (run.config.mode === "profile") replace(profile, profileCard(await get(`/v1/runs/${part(runId)}/profile`, signal), run));
    } catch {
      // The line at the top says that there is no news.
    }
    looking = false;
  };
  let spent = "";
  const show = () => {
    const run = runs.get(runId);
    if (!run) return;
    showTiles([run, Math.floor(Date.now() / 10000)], () => tilesOf(run));
    showMix(run.pools, () => run.pools.length > 1 && poolsCard(run.pools));
    showAsked(run.config, () => askedFor(run));
    curves.follow(run);
    const now = JSON.stringify([run.spend, run.prompts, run.state]);
    if (now !== spent) look();
    spent = now;
  };
  onNews(signal, show);
  show();
  return runId;
}

/** @param {any} run */
function tilesOf(run) {
  const { budget, max_steps } = run.config;
  const skipped = Object.values(run.skip_rates).reduce((sum, share) => sum + share, 0);
  const rates = Object.entries(run.skip_rates).map(([verdict, share]) => ({ share, tone: verdict, title: `${verdict} ${rate(share, 1)}` }));
  const elapsed = run.started_at === null ? null : (run.ended_at ?? Date.now() / 1000) - run.started_at;
  const looks = run.config.mode === "profile";
  return [
    tile("Rollouts", count(run.spend.rollouts), ...against(run.spend.rollouts, run.spend.reserved_rollouts, budget.rollouts, count)),
    tile("Tokens", count(run.spend.tokens), ...against(run.spend.tokens, run.spend.reserved_tokens, budget.tokens, count)),
    tile("Time", elapsed === null ? DASH : duration(elapsed), ...against(elapsed ?? 0, 0, budget.wall_clock_s, duration)),
    !looks && tile("Step", count(run.step), max_steps === null ? `${count(run.checkpointed_step)} saved` : `of ${count(max_steps)}, ${count(run.checkpointed_step)} saved`, max_steps !== null && bar([{ share: run.step / max_steps, tone: "commit", title: "" }], `step ${run.step} of ${max_steps}`)),
    !looks && tile("Skip rate", run.considered ? rate(skipped) : DASH, `of ${count(run.considered)} considered`, bar(rates, `skip rate ${rate(skipped)}`)),
    tile("Pilots right", rate(run.pilot_success_rate), "before selection"),
    tile("Weights", run.live_version ? `v${run.live_version}` : DASH, !run.live_version ? (run.version ? `v${run.version} is the newest` : "none yet") : run.version === run.live_version ? "live, the newest" : `live; v${run.version} is the newest`),
  ];
}

/** @param {string} name @param {string} value @param {...import("./dom.js").Child} more */
const tile = (name, value, ...more) =>
  h("div", { class: "card tile" }, h("span", { class: "name" }, name), h("strong", {}, value), h("span", { class: "hint" }, more[0]), more.slice(1));

/** What was spent on each of several pools. @param {any[]} pools */
function poolsCard(pools) {
  const claims = pools.reduce((sum, pool) => sum + pool.claimed, 0);
  const skipped = (/** @type {any} */ pool) => (pool.considered ? rate(Object.values(pool.skip_rates).reduce((sum, share) => sum + share, 0)) : DASH);
  const names = ["Wanted", "Claims", "Let pass", "Skip rate", "Pilots right", "Rollouts", "Tokens", "Claimable"];
  const cells = (/** @type {any} */ pool) => [rate(pool.part), claims ? `${count(pool.claimed)}, ${rate(pool.claimed / claims)}` : count(pool.claimed), count(pool.forfeited), skipped(pool), rate(pool.pilot_success_rate), count(pool.rollouts), count(pool.tokens), count(pool.claimable)];
  return h(
    "section",
    { class: "card flush", id: "mix" },
    h("h3", {}, "How its pools are mixed"),
    h("p", { class: "hint" }, "The share of claims that each is wanted to have, and has had. A pool lets a turn pass when it has nothing to claim."),
    h(
      "table",
      { class: "stacks" },
      h("thead", {}, h("tr", {}, h("th", {}, "Pool"), names.map((name) => h("th", { class: "num" }, name)))),
      h("tbody", {}, pools.map((pool) => h("tr", {}, h("td", { class: "lead id" }, pool.name), cells(pool).map((cell, number) => h("td", { class: "num", "data-label": names[number] }, cell))))),
    ),
  );
}

/** What is spent of a limit, in words and as a bar. */
function against(spent, reserved, limit, told) {
  if (limit === null) return ["no limit"];
  return [
    reserved ? `of ${told(limit)}, ${told(reserved)} reserved` : `of ${told(limit)}`,
    bar(
      [
        { share: spent / limit, tone: "commit", title: `spent ${told(spent)}` },
        { share: Math.min(reserved / limit, 1 - spent / limit), tone: "reserved", title: `reserved ${told(reserved)}` },
      ],
      `${rate(spent / limit)} spent`,
    ),
  ];
}

/** @param {any} run */
function askedFor(run) {
  const { config } = run;
  const facts = {
    [run.pools.length > 1 ? "Pools" : "Pool"]: run.pools.map((/** @type {any} */ pool) => pool.name).join(" + "),
    Servers: Object.keys(config.servers).length ? labelled(config.servers) : "any",
    Allocator: run.allocator,
    ...(config.mode === "profile" ? { Mode: "profile: pilots alone, no learner", Weights: config.weights ?? "the scheduler's model" } : {}),
    Group: `${config.pilots} pilots, ${config.commits} commits`,
    Batch: `${config.batch_size} groups`,
    Staleness: `at most ${config.max_staleness}`,
    Sampling: `${count(config.sampling.max_new_tokens)} tokens at temperature ${config.sampling.temperature}`,
    Evaluation: config.evaluation ? `${config.evaluation.pool}, by ${config.evaluation.measure}` : "on request",
    "Pause mode": spaced(config.pause_mode),
    Seed: String(config.seed),
    Created: clock(run.created_at),
    Began: run.started_at === null ? DASH : clock(run.started_at),
    Ended: run.ended_at === null ? DASH : clock(run.ended_at),
  };
  return [h("h3", {}, "As it was asked for"), h("dl", { class: "facts" }, Object.entries(facts).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))];
}
