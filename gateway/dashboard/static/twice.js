// A button that asks again before it acts.

/** Let a button act at the second click; between the two it says so. */
export function twice(target, act) {
  const [text, label] = [target.textContent, target.getAttribute("aria-label")];
  const calm = () => {
    target.classList.remove("sure");
    target.textContent = text;
    if (label) target.setAttribute("aria-label", label);
  };
  target.addEventListener("blur", calm);
  target.addEventListener("click", () => {
    if (target.classList.contains("sure")) {
      calm();
      act();
      return;
    }
    target.classList.add("sure");
    target.textContent = "Sure?";
    if (label) target.setAttribute("aria-label", `Sure? ${label}`);
  });
}
