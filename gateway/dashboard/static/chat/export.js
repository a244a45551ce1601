// Conversations as files: JSON with everything in it, Markdown to read.

import { titleOf } from "./conversation.js";

const NAMES = { user: "You", assistant: "Answer", tool: "Result" };

export function asJson(conversations) {
  return JSON.stringify({ format: "forge-conversations", version: 1, conversations }, null, 2);
}

export function asMarkdown(conversation) {
  const { settings, messages } = conversation;
  const parts = [`# ${titleOf(conversation)}`];
  if (settings.system?.trim()) parts.push("## System", settings.system.trim());
  for (const message of messages) {
    parts.push(`## ${NAMES[message.role]}${message.model ? ` (${message.model})` : ""}`);
    if (message.thoughts) parts.push(message.thoughts.trim().replace(/^/gm, "> "));
    if (message.pictures) parts.push(`(${message.pictures.length} pictures)`);
    if (message.text) parts.push(message.text.trim());
    for (const call of message.calls ?? []) parts.push(fenced(`${call.name}(${call.arguments})`));
  }
  return `${parts.join("\n\n")}\n`;
}

/** A fence that is longer than any in the text. */
function fenced(text) {
  const longest = (text.match(/`+/g) ?? []).reduce((most, run) => Math.max(most, run.length), 2);
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

/** Have the browser save a text. */
export function save(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A file's name from a title. */
export function fileName(title, ending) {
  const plain = title.normalize("NFKD").replace(/[^\w ]+/g, "").trim().replace(/\s+/g, "-").toLowerCase().slice(0, 40);
  return `${plain || "conversation"}.${ending}`;
}
