/** A run to queue. */

import { get, post } from "./api.js";
import { h, replace } from "./dom.js";
import { field, form, labels, number, typed } from "./form.js";
import { took } from "./live.js";

const ALLOCATORS = ["adaptive", "pilot_commit", "grpo", "dapo", "dapo_carry", "speed_rl", "greso", "mopps", "reinforce_ada"];

/** @param {HTMLElement} main @param {AbortSignal} signal */
export function newRunPage(main, signal) {
  const place = h("section", { class: "card narrow" }, h("p", { class: "empty" }, "Asking the scheduler…"));
  main.append(h("div", { class: "head" }, h("h1", {}, "New run")), place);
  get("/v1/pools", signal).then(
    ({ pools }) => replace(place, pools.length ? runForm(pools.map((pool) => pool.name)) : h("p", { class: "empty" }, "A run needs a pool of prompts: ", h("a", { href: "#/pools/new" }, "create one"), " first.")),
    (problem) => !signal.aborted && replace(place, h("p", { class: "empty wrong", role: "alert" }, problem.message)),
  );
  return "New run";
}

/** @param {string[]} pools */
function runForm(pools) {
  const names = pools.map((name) => [name, name]);
  const whole = { inputmode: "numeric" };
  return form(
    { button: "Queue run", cancel: () => history.back() },
    async (values) => {
      const run = await post("/v1/runs", asked(values));
      took(run);
      location.hash = `#/runs/${encodeURIComponent(run.run_id)}`;
    },
    group("What it trains on", field("pool", "Pool", { options: names }), field("run_id", "Id", { placeholder: "made up by default", spellcheck: "false" }), field("allocator", "Allocator", { value: "adaptive", list: "allocators", spellcheck: "false" }, "Or package.module:Name"), h("datalist", { id: "allocators" }, ALLOCATORS.map((value) => h("option", { value })))),
    group("Where it samples", field("servers", "Labels of its servers", { placeholder: "gpu=h100 zone=a", spellcheck: "false" }, "empty: any server")),
    group("Groups and steps", field("pilots", "Pilots", { ...whole, value: 8 }), field("commits", "Commits", { ...whole, value: 8 }), field("batch_size", "Groups a step", { ...whole, value: 8 }), field("max_staleness", "Versions a group may be behind", { ...whole, value: 1 }), field("max_steps", "Steps at most", whole, "empty: the budget ends it")),
    group("Sampling", field("sampling.max_new_tokens", "Tokens of a rollout at most", { ...whole, value: 512 }), field("sampling.temperature", "Temperature", { inputmode: "decimal", value: 1 }), field("sampling.stop", "Text that ends a completion", { spellcheck: "false" }, "\\n is a new line")),
    group("Budget", field("budget.rollouts", "Rollouts", whole, "empty: no limit"), field("budget.tokens", "Generated tokens", whole, "empty: no limit"), field("budget.wall_clock_s", "Seconds", whole, "empty: no limit")),
    group("Evaluation", field("evaluation.pool", "Held-out pool", { options: [["", "on request only"], ...names] }), field("evaluation.rollouts", "Rollouts a prompt", { ...whole, value: 4 }), field("evaluation.every_steps", "Every so many steps", whole, "empty: before and after only")),
  );
}

/** @param {string} name @param {...HTMLElement} fields */
const group = (name, ...fields) => h("fieldset", {}, h("legend", {}, name), h("div", { class: "fields" }, fields));

/** The request. What is left empty is left out, and takes the API's default. @param {FormData} values */
function asked(values) {
  const stop = typed(values, "sampling.stop")?.replaceAll("\\n", "\n");
  const evaluated = typed(values, "evaluation.pool");
  return {
    pool: typed(values, "pool"),
    run_id: typed(values, "run_id"),
    allocator: typed(values, "allocator"),
    servers: labels(values, "servers"),
    pilots: number(values, "pilots"),
    commits: number(values, "commits"),
    batch_size: number(values, "batch_size"),
    max_staleness: number(values, "max_staleness"),
    max_steps: number(values, "max_steps"),
    sampling: {
      max_new_tokens: number(values, "sampling.max_new_tokens"),
      temperature: number(values, "sampling.temperature"),
      stop: stop ? [stop] : undefined,
    },
    budget: {
      rollouts: number(values, "budget.rollouts"),
      tokens: number(values, "budget.tokens"),
      wall_clock_s: number(values, "budget.wall_clock_s"),
    },
    evaluation: evaluated && {
      pool: evaluated,
      rollouts: number(values, "evaluation.rollouts"),
      every_steps: number(values, "evaluation.every_steps"),
    },
  };
}
