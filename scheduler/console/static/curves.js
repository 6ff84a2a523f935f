/**
 * The charts of a run.
 *
 * Owns: which data they show and when that is asked for again. Invariant: a weight version is asked for once it is there,
 * and not again.
 */

import { get, part } from "./api.js";
import { chart } from "./charts.js";
import { brief, clock, count, rate } from "./words.js";

const PAGE = 1000;
const WINDOWS = 40;
const FEWEST_STEPS = 5;
const VERDICTS = ["skip", "defer", "evict"];
const time = (/** @type {number} */ at) => clock(at).slice(11);

export class Curves {
  /** @param {string} runId @param {AbortSignal} signal */
  constructor(runId, signal) {
    this.path = `/v1/runs/${part(runId)}`;
    this.signal = signal;
    /** @type {any[]} Oldest first. */
    this.versions = [];
    this.asked = "";
    this.asking = false;
    this.spend = chart(
      {
        title: "Spend", hint: "rollouts over time", format: brief, place: time, time: true, empty: "Nothing is spent yet.",
        series: [{ label: "spent", colour: "commit", filled: true }, { label: "budget", colour: "faint", dashed: true }],
      },
      signal,
    );
    this.skips = chart(
      {
        title: "Skip rate", hint: "of the prompts judged in the steps before", format: (share) => rate(share), stacked: true, most: 0.2,
        place: (step) => `step ${count(step)}`, mark: (step) => (Number.isInteger(step) ? count(step) : ""),
        empty: "No step has been taken yet.", series: VERDICTS.map((verdict) => ({ label: verdict, colour: verdict })),
      },
      signal,
    );
    this.table = chart(
      {
        title: "Informativeness", hint: "prompts by the reward variance expected of them", format: brief, bars: true, stacked: true, most: 4,
        place: (middle) => `around ${middle.toFixed(2)}`, mark: (middle) => middle.toFixed(2), empty: "No prompt has been visited yet.",
        series: ["commit", ...VERDICTS, "none"].map((verdict) => ({ label: verdict === "none" ? "no verdict" : verdict, colour: verdict })),
      },
      signal,
    );
    this.accuracy = chart(
      {
        title: "Accuracy", hint: "of evaluations, by rollouts spent", format: (share) => rate(share), most: 0.1,
        place: (spent) => `${count(spent)} rollouts`, mark: brief, empty: "No evaluation is done yet.",
        series: [{ label: "accuracy", colour: "good", points: true }],
      },
      signal,
    );
    this.ofLearners = [this.skips, this.accuracy].map((drawn) => drawn.element);
    this.elements = [this.spend, this.skips, this.accuracy, this.table].map((drawn) => drawn.element);
  }

  /** Show the run as it is now; asks for what is new since. @param {any} run */
  async follow(run) {
    for (const element of this.ofLearners) element.hidden = run.config.mode === "profile";
    this.showSpend(run);
    const facts = JSON.stringify([run.version, run.prompts, run.spend.rollouts, run.state]);
    if (this.asking || facts === this.asked) return;
    this.asking = true;
    try {
      await this.ask(run);
      this.asked = facts;
      this.showSpend(run);
    } catch {
      // The line at the top says that there is no news; the next look asks again.
    }
    this.asking = false;
  }

  /** @param {any} run */
  async ask(run) {
    await this.askVersions(run.version);
    const [found, table] = await Promise.all([
      get(`${this.path}/evaluations?results=false`, this.signal),
      get(`${this.path}/informativeness`, this.signal),
    ]);
    this.showSkips();
    this.showAccuracy(found.evaluations);
    this.showTable(table);
  }

  /** @param {number} newest */
  async askVersions(newest) {
    const known = this.versions.at(-1)?.version ?? 0;
    const fresh = [];
    for (let before = newest + 1; before > known + 1; ) {
      const { weights } = await get(`${this.path}/weights?count=${Math.min(PAGE, before - known - 1)}&before=${before}`, this.signal);
      if (!weights.length) break;
      fresh.push(...weights);
      before = weights.at(-1).version;
    }
    this.versions.push(...fresh.reverse());
  }

  /** @param {any} run */
  showSpend(run) {
    if (run.started_at === null) return this.spend.set([[]], "nothing is spent yet");
    const points = [[run.started_at, 0], ...this.versions.filter((one) => one.announced_at > run.started_at).map((one) => [one.announced_at, one.spent_rollouts])];
    points.push([Math.max(run.ended_at ?? Date.now() / 1000, points.at(-1)[0] + 0.001), run.spend.rollouts]);
    const limit = run.config.budget.rollouts;
    // A budget that is far away would flatten the curve: the tile above has it.
    const near = limit !== null && run.spend.rollouts > limit / 4;
    const xs = points.map(([at]) => at);
    this.spend.set([xs, points.map(([, spent]) => spent), xs.map(() => (near ? limit : null))], `${count(run.spend.rollouts)} rollouts spent${limit === null ? "" : ` of ${count(limit)}`}`);
  }

  showSkips() {
    const rows = windowsOf(this.versions).map(([from, to]) => {
      const judged = [...VERDICTS, "commit"].map((verdict) => (to.verdicts[verdict] ?? 0) - (from.verdicts[verdict] ?? 0));
      const all = judged.reduce((sum, one) => sum + one, 0);
      return [to.step, all, ...judged.slice(0, 3).map((one) => one / all)];
    });
    // Restored weights may go back a step; the axis does not.
    const forward = rows.filter(([step, all], at) => all > 0 && (!at || step > rows[at - 1][0])).map(([step, , ...shares]) => [step, ...shares]);
    const last = forward.at(-1);
    this.skips.set(columns(forward, 4), last ? `lately ${rate(last[1] + last[2] + last[3])} of the prompts judged were not committed` : "no step has been taken yet");
  }

  /** @param {any[]} evaluations */
  showAccuracy(evaluations) {
    const spent = new Map(this.versions.map((one) => [one.version, one.spent_rollouts]));
    const points = evaluations
      .filter((one) => one.accuracy !== null && one.state === "done" && spent.has(one.version))
      .map((one) => [spent.get(one.version), one.accuracy])
      .sort(([one], [other]) => one - other);
    const [first, last] = [points[0], points.at(-1)];
    this.accuracy.set(columns(points, 2), last ? `accuracy from ${rate(first[1], 1)} to ${rate(last[1], 1)}` : "no evaluation is done yet");
  }

  /** @param {any} table */
  showTable(table) {
    const names = ["commit", ...VERDICTS, "none"];
    const rows = table.visited ? table.bins.map((bin) => [(bin.low + bin.high) / 2, ...names.map((name) => bin.counts[name] ?? 0)]) : [];
    const sampled = table.sampled < table.visited ? `, ${count(table.sampled)} of which were looked at` : "";
    this.table.set(columns(rows, 6), `${count(table.visited)} prompts visited${sampled}`);
  }
}

/**
 * Pairs of versions between which a rate is taken: each with the one some steps before it, since verdicts come in rounds
 * and a single step may have seen one kind of them alone.
 * @param {any[]} versions
 */
function windowsOf(versions) {
  const steps = Math.max(FEWEST_STEPS, Math.ceil(versions.length / WINDOWS));
  return versions.slice(1).map((to, at) => [versions[Math.max(0, at + 1 - steps)], to]);
}

/** @param {number[][]} rows @param {number} width */
const columns = (rows, width) => Array.from({ length: width }, (_, at) => rows.map((row) => row[at]));
