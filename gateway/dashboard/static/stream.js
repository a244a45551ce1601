// The one stream that feeds the page. It comes back by itself, and rests while nobody looks.

import * as key from "./key.js";
import { events } from "./sse.js";

const HIDDEN_MS = 60_000;
const LONGEST_PAUSE_MS = 8_000;
const STEADY_MS = 5_000;

const status = document.getElementById("status");

function show(state, text) {
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

/** Follow for ever; `take(event, data)` gets what comes. */
export async function follow(take) {
  let pause = 500;
  for (;;) {
    await visible();
    await present();
    const begin = performance.now();
    const wanted = await once(take);
    if (performance.now() - begin > STEADY_MS) pause = 500;
    if (!wanted) continue;
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

/** One connection to its end. Whether to pause before the next. */
async function once(take) {
  const stop = new AbortController();
  const watch = () => setTimeout(() => document.hidden && stop.abort(), HIDDEN_MS);
  const leave = () => stop.abort();
  document.addEventListener("visibilitychange", watch);
  addEventListener("pagehide", leave);
  try {
    const response = await fetch("dashboard/events", { headers: key.headers(), signal: stop.signal });
    if (response.status === 401) {
      show("lost", "no key");
      await response.body?.cancel();
      await key.ask();
      return false;
    }
    if (!response.ok) {
      const problem = await response.json();
      show("lost", problem.error?.message ?? "not available");
      return true;
    }
    key.accepted();
    for await (const { event, data } of events(response)) {
      show("live", "live");
      if (data) take(event, JSON.parse(data));
    }
    show("lost", "the server ended the stream");
  } catch (error) {
    if (stop.signal.aborted) return false;
    if (!(error instanceof TypeError)) throw error; // a network error is a TypeError
    show("lost", "connection lost, trying again");
  } finally {
    document.removeEventListener("visibilitychange", watch);
    removeEventListener("pagehide", leave);
  }
  return true;
}

/** A page that was left may come back as it was. Meanwhile its stream would take one of the browser's few connections. */
let left = false;
addEventListener("pagehide", () => (left = true));
addEventListener("pageshow", () => (left = false));

function present() {
  if (!left) return undefined;
  return new Promise((resolve) => addEventListener("pageshow", resolve, { once: true }));
}

function visible() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  }).then(visible);
}
