// A burst of mixed priorities, and some more every second: what is old overtakes what is new.

import * as key from "./key.js";

const WAVES = 12;
const PAUSE_MS = 1000;
const MOST = 60;

const button = document.getElementById("flood");
const hint = document.getElementById("jobs-hint");

export function start(store) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await flood(store.facts.slots || 8);
    } catch (error) {
      hint.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}

async function flood(slots) {
  const share = (part) => Math.min(MOST, Math.max(1, Math.round(slots * part)));
  await send({ batch: share(1), normal: share(0.75), urgent: share(0.75) });
  for (let wave = 0; wave < WAVES; wave += 1) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    await send({ batch: share(0.125), normal: share(0.375), urgent: share(0.125) });
  }
}

async function send(numbers) {
  const response = await fetch("dashboard/flood", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...key.headers() },
    body: JSON.stringify(numbers),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
}
