// Numbers as people read them.

/** Seconds, or milliseconds below one. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${(1000 * value).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  if (value < 0.9995) return `${(1000 * value).toFixed(0)} ms`;
  if (value < 99.95) return `${value.toFixed(value < 9.995 ? 2 : 1)} s`;
  return `${Math.round(value / 60)} min`;
}

export const milliseconds = (value) => (value === null || value === undefined ? "–" : seconds(value / 1000));

/** A whole number with thin spaces between thousands. */
export function whole(value) {
  if (value === null || value === undefined) return "–";
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** Bytes in MiB, or in GiB from one on. */
export function bytes(value) {
  const mib = value / 2 ** 20;
  if (mib < 1024) return `${mib < 9.95 ? mib.toFixed(1) : Math.round(mib)} MiB`;
  return `${(mib / 1024).toFixed(1)} GiB`;
}

/** How long ago something was. */
export function ago(value) {
  const s = Math.max(0, value);
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return `${Math.floor(s / 3600)} h ago`;
}

export const count = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

/** A priority without a needless ".0". */
export const priority = (value) => String(Number(value.toFixed(3)));

/** An element with a class and a text. */
export function element(name, kind = "", text = "") {
  const found = document.createElement(name);
  if (kind) found.className = kind;
  if (text) found.textContent = text;
  return found;
}

/** Set a text, unless it is there already: what does not change is not laid out again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
