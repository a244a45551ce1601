// A conversation as data, and the request that it becomes. Nothing here knows the page.

/** Settings of a request and the range of each; an empty field leaves the choice to the server. */
export const SAMPLING = [
  { name: "temperature", label: "Temperature", min: 0, max: 100, step: 0.05 },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.01 },
  { name: "top_k", label: "Top k", min: -1, max: 100000, step: 1 },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01 },
  { name: "repeat_penalty", label: "Repeat penalty", min: 0.01, max: 10, step: 0.01 },
  { name: "max_tokens", label: "Most tokens", min: 1, max: 1000000, step: 1 },
  { name: "seed", label: "Seed", min: -1, max: 2 ** 53 - 1, step: 1 },
];
const TITLE = 60;

/** A conversation without messages. `settings` are those of another one, to begin with. */
export function fresh(settings = {}) {
  const now = Date.now();
  return { id: unique(), revision: 0, title: "", created: now, changed: now, settings: { ...settings }, messages: [] };
}

/** Make a conversation another one, which is not kept yet. */
export function detach(conversation) {
  Object.assign(conversation, { id: unique(), revision: 0 });
}

/** crypto.randomUUID is missing where a page comes by plain http from another machine. */
function unique() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const question = (text, pictures = []) => ({ role: "user", text, ...(pictures.length && { pictures }) });
export const answer = (model) => ({ role: "assistant", text: "", thoughts: "", calls: [], model });
export const result = (call, text) => ({ role: "tool", call, text });

export function titleOf(conversation) {
  const first = conversation.messages.find(({ role }) => role === "user")?.text ?? "";
  const text = (conversation.title || first).trim().split("\n")[0];
  return text.length > TITLE ? `${text.slice(0, TITLE - 1)}\u2026` : text || "New conversation";
}

/** Calls of an answer that have no result yet. */
export function unanswered(messages, at) {
  const known = new Set(messages.slice(at + 1).map(({ call }) => call));
  return messages[at].calls.filter(({ id }) => !known.has(id));
}

/** Put a result after its call; an earlier call may have got others. Where it stands, and whether it is the last. */
export function insert(messages, call, text) {
  const from = messages.findLastIndex(({ calls }) => calls?.includes(call));
  let at = from + 1;
  while (messages[at]?.role === "tool") at += 1;
  messages.splice(at, 0, result(call.id, text));
  return { from, last: at === messages.length - 1 };
}

/** The body of a request for the next answer. Raises a SyntaxError for tools that are no JSON. */
export function body(conversation, model) {
  const { settings } = conversation;
  const sampling = SAMPLING.filter(({ name }) => Number.isFinite(settings[name])).map(({ name }) => [name, settings[name]]);
  return {
    ...(model && { model }),
    messages: history(conversation),
    ...Object.fromEntries(sampling),
    ...(settings.tools && { tools: JSON.parse(settings.tools) }),
    ...(settings.thoughts === "on" && { enable_thinking: true }),
    ...(settings.thoughts === "off" && { reasoning_effort: "none", enable_thinking: false }),
    priority: settings.priority ?? "normal",
    stream: true,
    stream_options: { include_usage: true },
  };
}

function history({ settings, messages }) {
  const system = settings.system?.trim();
  const last = messages.findLastIndex(({ role }) => role === "user");
  const sent = messages.flatMap((message, at) => wire(message, at, messages, at > last));
  return system ? [{ role: "system", content: system }, ...sent] : sent;
}

/** A message as the API has it. What was answered with nothing is left out, and so are calls without results. */
function wire(message, at, messages, current) {
  if (message.role === "user") return [{ role: "user", content: content(message) }];
  if (message.role === "tool") {
    const whole = messages.some((each, from) => each.calls?.some(({ id }) => id === message.call) && !unanswered(messages, from).length);
    return whole ? [{ role: "tool", tool_call_id: message.call, content: message.text }] : [];
  }
  const calls = unanswered(messages, at).length ? [] : message.calls;
  if (!message.text && !calls.length) return [];
  return [
    {
      role: "assistant",
      content: message.text,
      // Within a chain of tools a model goes on with its thought; an old one is no part of a conversation.
      ...(current && message.thoughts && { reasoning_content: message.thoughts }),
      ...(calls.length && { tool_calls: calls.map(asked) }),
    },
  ];
}

const asked = ({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text } });

function content({ text, pictures = [] }) {
  if (!pictures.length) return text;
  const said = text ? [{ type: "text", text }] : [];
  return [...pictures.map((url) => ({ type: "image_url", image_url: { url } })), ...said];
}
