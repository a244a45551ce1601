// One answer as it comes from the API: a request, its stream, and how long what took.

import * as key from "../key.js";
import { events } from "../sse.js";
import { body } from "./conversation.js";

const UNREACHABLE = "The server can't be reached.";
const CUT = "The connection ended before the answer did.";

/** What is known of the times of an answer, in seconds. */
class Course {
  constructor() {
    this.asked = performance.now() / 1000;
    this.first = null;
    this.last = null;
    this.wait = null;
    this.tokens = 0;
  }

  piece() {
    this.last = performance.now() / 1000;
    this.first ??= this.last;
    this.tokens += 1;
  }

  /** How long nothing has come. */
  silence() {
    return performance.now() / 1000 - (this.last ?? this.asked);
  }

  figures() {
    const { asked, first, last, wait, tokens } = this;
    const rate = tokens > 1 && last > first ? (tokens - 1) / (last - first) : null;
    return { wait, first: first === null ? null : first - asked, tokens, rate };
  }
}

/** An answer that is being made: fills `message`, and can be stopped. */
export class Answering {
  constructor(conversation, message) {
    this.conversation = conversation;
    this.message = message;
    this.course = new Course();
    this.abort = new AbortController();
    this.finish = "";
  }

  stop() {
    this.abort.abort();
  }

  /** Read to the end; `changed` is called for whatever came. What went wrong is in the message. */
  async read(changed) {
    const { message } = this;
    try {
      for await (const { data, comment } of events(await this.response())) {
        // A stream that waited for long has its headers before it is started.
        if (comment.startsWith("queue-wait")) this.course.wait = Number(comment.split(" ")[1]);
        if (data && data !== "[DONE]") this.take(JSON.parse(data));
        changed();
      }
      if (!this.finish) throw new Error(CUT);
      if (this.finish === "length") message.note = "It reached its limit of tokens.";
    } catch (error) {
      if (this.abort.signal.aborted) message.note = "Stopped.";
      else message.error = error instanceof TypeError ? (this.course.first === null ? UNREACHABLE : CUT) : error.message;
    }
    message.figures = this.course.figures();
    changed();
  }

  async response() {
    for (;;) {
      const response = await fetch("v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json", ...key.headers() },
        body: JSON.stringify(body(this.conversation, this.message.model)),
        signal: this.abort.signal,
      });
      if (response.ok) {
        key.accepted();
        const wait = response.headers.get("X-Queue-Wait");
        if (wait !== null) this.course.wait = Number(wait);
        return response;
      }
      if (response.status !== 401) throw new Error(await problem(response));
      await Promise.race([key.ask(), aborted(this.abort.signal)]);
    }
  }

  take(chunk) {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices[0];
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    const { content, reasoning_content: thought, tool_calls: calls = [] } = choice?.delta ?? {};
    if (thought || content || calls.length) this.course.piece();
    if (thought) this.message.thoughts += thought;
    if (content) this.message.text += content;
    for (const call of calls) this.call(call);
    if (chunk.usage) this.course.tokens = chunk.usage.completion_tokens;
  }

  call({ index, id, function: { name, arguments: text } = {} }) {
    const call = (this.message.calls[index] ??= { id: "", name: "", arguments: "" });
    if (id) call.id = id;
    call.name += name ?? "";
    call.arguments += text ?? "";
  }
}

/** What a response says went wrong; a proxy's has no JSON. */
async function problem(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered ${response.status} ${response.statusText}`.trimEnd();
  }
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}
