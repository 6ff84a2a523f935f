/**
 * The console: which page is shown.
 *
 * Owns: the address and the frame around the pages. Invariant: what a page has begun ends when another is shown.
 */

import { h, replace, shown } from "./dom.js";
import { newPage, poolsPage } from "./pools.js";
import { eventsPage } from "./events.js";
import { fleetPage } from "./fleet.js";
import { follow, link, onNews } from "./live.js";
import { newRunPage } from "./new_run.js";
import { promptsPage } from "./prompts.js";
import { runPage } from "./run.js";
import { runsPage } from "./runs.js";
import { storyPage } from "./story.js";
import { install } from "./theme.js";

/** @typedef {(main: HTMLElement, signal: AbortSignal, ...names: string[]) => string} Page Returns its title. */

/** @type {[RegExp, string, Page][]} */
const PAGES = [
  [/^\/?$/, "runs", runsPage],
  [/^\/new-run$/, "runs", newRunPage],
  [/^\/runs\/([^/]+)$/, "runs", runPage],
  [/^\/runs\/([^/]+)\/prompts$/, "runs", promptsPage],
  [/^\/runs\/([^/]+)\/prompts\/([^/]+)$/, "runs", storyPage],
  [/^\/runs\/([^/]+)\/events$/, "runs", eventsPage],
  [/^\/pools$/, "pools", poolsPage],
  [/^\/pools\/new$/, "pools", newPage],
  [/^\/fleet$/, "fleet", fleetPage],
];

const main = document.getElementById("content");
let leave = new AbortController();

function show() {
  leave.abort();
  leave = new AbortController();
  const address = location.hash.slice(1);
  for (const [pattern, where, page] of PAGES) {
    const found = pattern.exec(address);
    if (!found) continue;
    replace(main);
    document.title = `${page(main, leave.signal, ...found.slice(1).map(decodeURIComponent))} · pilotcommit`;
    mark(where);
    return;
  }
  replace(main, h("p", { class: "empty" }, "There is no such page. ", h("a", { href: "#/" }, "All runs")));
  mark("");
}

/** @param {string} where */
function mark(where) {
  for (const item of document.querySelectorAll("nav [data-part]")) {
    if (item.dataset.part === where) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
}

function frame() {
  const state = document.getElementById("link");
  const trouble = document.getElementById("trouble");
  const update = shown(trouble);
  onNews(new AbortController().signal, () => {
    state.className = `link ${link.trouble ? "lost" : "on"}`;
    state.textContent = link.trouble ? "no news" : "live";
    trouble.hidden = !link.trouble;
    update(link.trouble, () => link.trouble);
  });
  document.querySelector(".skip-link").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
    const filter = document.querySelector("[data-shortcut='/']");
    if (event.key !== "/" || typing || !filter) return;
    event.preventDefault();
    filter.focus();
  });
}

install(document.getElementById("theme"));
frame();
addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
show();
follow();
