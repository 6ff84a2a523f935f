/**
 * The API, asked with the token of whoever looks at the page.
 *
 * Owns: requests and their failures. Invariant: a token is kept for this tab alone, and sent to this scheduler alone.
 */

import { askToken } from "./token.js";

const KEY = "pilotcommit-token";

/** An answer that is no success: a problem document, or what stood in its place. */
export class Problem extends Error {
  /** @param {number} status @param {string} detail @param {string} field */
  constructor(status, detail, field) {
    super(detail);
    this.status = status;
    this.field = field;
  }
}

/**
 * Send a request; asks for a token where the scheduler wants one, and sends it again.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, raw?: BodyInit, signal?: AbortSignal}} [more]
 * @returns {Promise<Response>}
 */
export async function send(method, path, { body, raw, signal } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (raw !== undefined) headers["Content-Type"] = "application/x-ndjson";
    const response = await reach(path, {
      method,
      headers,
      body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
      signal,
      credentials: "omit",
    });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status !== 401) throw problem;
    // Another request may have asked for one while this one was under way.
    if (sessionStorage.getItem(KEY) === token) {
      sessionStorage.setItem(KEY, await askToken(token ? problem.message : ""));
    }
  }
}

/** @param {string} path @param {RequestInit} request */
async function reach(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "The scheduler does not answer. Is it running?", "");
  }
}

/** @param {Response} response */
async function problemOf(response) {
  try {
    const found = await response.json();
    return new Problem(response.status, found.detail ?? response.statusText, found.field ?? "");
  } catch {
    return new Problem(response.status, `The answer was ${response.status} ${response.statusText}`, "");
  }
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = async (path, signal) => (await send("GET", path, { signal })).json();

/** @param {string} path @param {unknown} [body] */
export const post = async (path, body) => (await send("POST", path, { body })).json();

/** @param {string} path */
export const remove = async (path) => (await send("DELETE", path)).json();

/** One part of a path. @param {string} name */
export const part = (name) => encodeURIComponent(name);
