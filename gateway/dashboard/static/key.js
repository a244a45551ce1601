// The API key, if the server wants one. It stays in this tab.

const NAME = "forge-key";
const form = document.getElementById("key");
const field = document.getElementById("key-field");
const error = document.getElementById("key-error");

let waiting = [];

/** Headers that show the key. */
export function headers() {
  const key = sessionStorage.getItem(NAME);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The server wants a key, or another one: wait until somebody has given it. */
export function ask() {
  const known = sessionStorage.getItem(NAME);
  error.textContent = known ? "The server does not know this key." : "";
  sessionStorage.removeItem(NAME);
  if (form.hidden) {
    form.hidden = false;
    field.focus();
  }
  return new Promise((resolve) => waiting.push(resolve));
}

/** The key was good, or none is needed. */
export function accepted() {
  form.hidden = true;
  error.textContent = "";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, field.value.trim());
  field.value = "";
  error.textContent = "";
  const resolved = waiting;
  waiting = [];
  for (const resolve of resolved) resolve();
});
