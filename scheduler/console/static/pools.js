/** Pools: what there is, creating one, and adding prompts. */

import { get, part, post, send } from "./api.js";
import { h, replace, say } from "./dom.js";
import { field, form, number, typed } from "./form.js";
import { ago, count, plural } from "./words.js";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export function poolsPage(main, signal) {
  const list = h("div", { class: "card flush" }, h("p", { class: "empty" }, "Asking the scheduler…"));
  const adding = h("section", { class: "card" });
  main.append(h("div", { class: "head" }, h("h1", {}, "Pools"), h("a", { class: "button primary", href: "#/pools/new" }, "New pool")), list, adding);
  const look = async () => {
    try {
      const { pools } = await get("/v1/pools", signal);
      replace(list, pools.length ? table(pools) : h("p", { class: "empty" }, "There is no pool yet. ", h("a", { href: "#/pools/new" }, "Create one"), "."));
      if (pools.length && !adding.childElementCount) adding.append(h("h3", {}, "Add prompts"), addForm(pools.map((pool) => pool.name), look));
      adding.hidden = !pools.length;
    } catch (problem) {
      if (!signal.aborted) replace(list, h("p", { class: "empty wrong", role: "alert" }, problem.message));
    }
  };
  look();
  return "Pools";
}

/** @param {any[]} pools */
function table(pools) {
  return h(
    "table",
    { class: "stacks" },
    h("thead", {}, h("tr", {}, ["Pool", "Reward", "Tokenizer"].map((name) => h("th", {}, name)), ["Prompts", "Created"].map((name) => h("th", { class: "num" }, name)))),
    h("tbody", {}, pools.map((pool) =>
      h(
        "tr",
        {},
        h("td", { class: "lead" }, pool.name),
        h("td", { "data-label": "Reward" }, h("code", {}, pool.reward)),
        h("td", { class: "hint clip", "data-label": "Tokenizer", title: pool.tokenizer }, pool.tokenizer),
        h("td", { class: "num", "data-label": "Prompts" }, count(pool.num_prompts)),
        h("td", { class: "num", "data-label": "Created" }, ago(pool.created_at)),
      ),
    )),
  );
}

const EXAMPLE = '{"id": "sum-1", "text": "3 + 4 =", "answer": "7"}';
const LINES = "One JSON object a line: text, messages or input_ids; id, answer and metadata as wanted.";

/** @param {string[]} names @param {() => Promise<void>} done */
function addForm(names, done) {
  const element = form(
    { button: "Add prompts" },
    async (values) => {
      const file = values.get("file");
      const lines = file instanceof File && file.size ? file : String(values.get("lines"));
      const answer = await upload(String(values.get("pool")), lines);
      say(answer);
      element.reset();
      await done();
    },
    h("div", { class: "fields" }, field("pool", "Pool", { options: names.map((name) => [name, name]) }), field("file", "A file of them", { type: "file", accept: ".ndjson,.jsonl,.json" })),
    field("lines", "Or the prompts themselves", { rows: 4, placeholder: EXAMPLE, spellcheck: "false" }, LINES),
  );
  return element;
}

/** @param {string} pool @param {File | string} lines */
async function upload(pool, lines) {
  const answer = await (await send("POST", `/v1/pools/${part(pool)}/prompts`, { raw: lines })).json();
  return `${plural(answer.added, "prompt")} added, ${answer.unchanged} were there already.`;
}

/** @param {HTMLElement} main */
export function newPage(main) {
  main.append(
    h("div", { class: "head" }, h("h1", {}, "New pool")),
    h(
      "section",
      { class: "card narrow" },
      form(
        { button: "Create pool", cancel: () => history.back() },
        async (values) => {
          await post("/v1/pools", {
            name: typed(values, "name") ?? "",
            tokenizer: typed(values, "tokenizer") ?? "",
            reward: typed(values, "reward") ?? "",
            max_prompt_tokens: number(values, "max_prompt_tokens"),
          });
          if (typed(values, "lines")) say(await upload(typed(values, "name"), String(values.get("lines"))));
          location.hash = "#/pools";
        },
        field("name", "Name", { placeholder: "arithmetic", spellcheck: "false" }, "Letters, digits, . _ -"),
        field("tokenizer", "Folder of the tokenizer", { placeholder: "/models/SmolLM2-135M-Instruct", spellcheck: "false" }, "With the config.json of the model the prompts are for, as the scheduler sees it."),
        field("reward", "Reward", { value: "exact", list: "rewards", spellcheck: "false" }, "exact, numeric, regex, regex:PATTERN, or python:module:function"),
        h("datalist", { id: "rewards" }, ["exact", "numeric", "regex"].map((value) => h("option", { value }))),
        field("max_prompt_tokens", "Longest prompt, in tokens", { inputmode: "numeric" }, "By default what the model's context allows."),
        field("lines", "First prompts", { rows: 5, placeholder: EXAMPLE, spellcheck: "false" }, LINES),
      ),
    ),
  );
  return "New pool";
}
