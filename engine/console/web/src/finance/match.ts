// Two sides of a break: what is left between those chosen, at once. The server says the same when it is asked.

import { grouped, minorOf } from "./money";

function left(form: HTMLFormElement): bigint {
  let sum = 0n;
  for (const row of form.querySelectorAll<HTMLElement>("[data-minor]")) {
    if (row.querySelector("input:checked")) sum += "ours" in row.dataset ? -minorOf(row) : minorOf(row);
  }
  return sum;
}

function show(form: HTMLFormElement): void {
  const output = form.elements.namedItem("left");
  if (!(output instanceof HTMLOutputElement)) return;
  const sum = left(form);
  const text = form.dataset[sum === 0n ? "none" : sum > 0n ? "over" : "under"] ?? "";
  output.value = text.replace("{amount}", grouped(sum < 0n ? -sum : sum));
  output.className = `badge ${sum === 0n ? "good" : "warn"}`;
}

document.addEventListener("change", (event) => {
  const form = (event.target as HTMLElement).closest<HTMLFormElement>("form[data-match]");
  if (form) show(form);
});

for (const form of document.querySelectorAll<HTMLFormElement>("form[data-match]")) {
  // A browser that comes back to the page keeps what was ticked.
  show(form);
  for (const each of form.elements) if ("withoutScript" in (each as HTMLElement).dataset) each.remove();
}
