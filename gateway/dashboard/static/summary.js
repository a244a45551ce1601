// The five numbers at the top, and the names.

import { milliseconds, whole, write } from "./format.js";

const at = (name) => document.getElementById(name);

export function greet(hello) {
  write(at("model"), hello.models.join(", "));
  document.title = `Forge · ${hello.model}`;
  at("flood").hidden = !hello.flood;
  at("metrics-link").hidden = !hello.counted;
  const rate = hello.rate
    ? `A bar is a request: its priority, and ${Number(hello.rate.toFixed(4))} more for every second of waiting.`
    : "A bar is a request and its priority. Nothing ages here: the rate is 0.";
  write(at("queue-rule"), rate);
  if (hello.flood) write(at("jobs-hint"), "Flood the queue to see requests line up and age.");
}

export function summarise(store) {
  const { facts } = store;
  const last = store.rows("points").at(-1) ?? {};
  write(at("now-waiting"), whole(facts.waiting));
  fraction(at("now-running"), whole(facts.running), whole(facts.slots));
  write(at("now-rate"), whole(last.rate));
  write(at("now-ttft"), milliseconds(last.ttft_p50));
  write(at("now-total"), milliseconds(last.total_p99));
}

function fraction(node, part, all) {
  if (node.textContent === `${part} of ${all}`) return;
  const small = document.createElement("small");
  small.textContent = ` of ${all}`;
  node.replaceChildren(part, small);
}
