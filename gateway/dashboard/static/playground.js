// A chat, as any client of the API would have it; and how long what took.

import { seconds, whole, write } from "./format.js";
import * as key from "./key.js";
import { events } from "./sse.js";

const at = (name) => document.getElementById(name);
const [form, text, send, answer] = ["chat", "chat-text", "chat-send", "chat-answer"].map(at);
const choice = at("chat-model");

/** Ends the chat that is running, if one is. */
let running = null;

/** What is known of one answer. Times in seconds of the page's clock. */
class Course {
  constructor() {
    this.asked = performance.now() / 1000;
    this.first = null;
    this.last = null;
    this.wait = null;
    this.tokens = 0;
  }

  token() {
    this.last = performance.now() / 1000;
    this.first ??= this.last;
    this.tokens += 1;
  }

  show() {
    const { asked, first, last, wait, tokens } = this;
    const rate = tokens > 1 && last > first ? (tokens - 1) / (last - first) : null;
    write(at("chat-wait"), seconds(wait));
    write(at("chat-ttft"), seconds(first === null ? null : first - asked));
    write(at("chat-tokens"), whole(tokens || null));
    write(at("chat-rate"), whole(rate));
  }
}

export function start(store) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else if (text.value.trim()) chat(choice.value || store.hello.model);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

/** Which models there are to choose from, if there is a choice. */
export function offer(hello) {
  if (choice.length !== hello.models.length) choice.replaceChildren(...hello.models.map((name) => new Option(name)));
  choice.hidden = hello.models.length < 2;
}

async function chat(model) {
  const course = new Course();
  running = new AbortController();
  write(send, "Stop");
  answer.textContent = "";
  answer.className = "answer";
  answer.setAttribute("aria-busy", "true");
  course.show();
  try {
    await stream(model, course, running.signal);
  } catch (error) {
    if (!running.signal.aborted) {
      answer.className = "answer failed";
      answer.textContent += error.message;
    }
  } finally {
    running = null;
    write(send, "Send");
    answer.setAttribute("aria-busy", "false");
    course.show();
  }
}

async function stream(model, course, signal) {
  const body = {
    ...(model && { model }),
    messages: [{ role: "user", content: text.value.trim() }],
    priority: new FormData(form).get("priority"),
    stream: true,
    stream_options: { include_usage: true },
  };
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...key.headers() },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  course.wait = Number(response.headers.get("X-Queue-Wait"));
  for await (const { data, comment } of events(response)) {
    // A stream that waited for long has its headers before it is started.
    if (comment.startsWith("queue-wait")) course.wait = Number(comment.split(" ")[1]);
    if (data && data !== "[DONE]") take(JSON.parse(data), course);
    course.show();
  }
}

function take(chunk, course) {
  if (chunk.error) throw new Error(chunk.error.message);
  const delta = chunk.choices[0]?.delta ?? {};
  const piece = delta.reasoning_content ?? delta.content;
  if (piece) {
    course.token();
    const low = answer.scrollTop + answer.clientHeight >= answer.scrollHeight - 8;
    answer.append(piece);
    if (low) answer.scrollTop = answer.scrollHeight;
  }
  if (chunk.usage) course.tokens = chunk.usage.completion_tokens;
}
