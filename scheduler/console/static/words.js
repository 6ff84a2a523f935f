/**
 * Numbers, moments and names as people read them.
 *
 * Owns: how each is written. Invariant: a number that is not known is a dash.
 */

export const DASH = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {number | null | undefined} number */
export const count = (number) => (number === null || number === undefined ? DASH : whole.format(number));

/** A large count in three digits. @param {number} number */
export const brief = (number) =>
  new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number);

/** A share in per cent. @param {number | null | undefined} share @param {number} [digits] */
export const rate = (share, digits = 0) =>
  share === null || share === undefined ? DASH : `${(100 * share).toFixed(digits)} %`;

/** @param {number | null | undefined} number @param {number} digits */
export const decimal = (number, digits) => (number === null || number === undefined ? DASH : number.toFixed(digits));

/** A duration in its two largest units. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(s / 86400), "d"],
    [Math.floor(s / 3600) % 24, "h"],
    [Math.floor(s / 60) % 60, "min"],
    [s % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(" ");
}

/** How long ago a moment was, in seconds since the epoch. @param {number} moment */
export function ago(moment) {
  const seconds = Date.now() / 1000 - moment;
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

/** A moment in local time. @param {number} moment */
export function clock(moment) {
  const at = new Date(1000 * moment);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** A name of several words. @param {string | null} name */
export const spaced = (name) => (name ?? "").replaceAll("_", " ");

/** So many things of a kind. @param {number} number @param {string} what */
export const plural = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
