// Server-sent events from a fetch: EventSource can't send a key.

/** Yields {event, data, comment} for each block of a response, until it ends. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const found = { event: "message", data: "", comment: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const value = line.slice(at + 1).trimStart();
    if (at === 0) found.comment = value;
    else if (line.startsWith("event")) found.event = value;
    else if (line.startsWith("data")) found.data += value;
  }
  return found;
}
