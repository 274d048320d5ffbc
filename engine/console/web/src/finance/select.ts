// How many of a list are ticked and what they come to; one box ticks all of the page.

import { grouped, minorOf } from "./money";

function show(form: HTMLFormElement, boxes: HTMLInputElement[]): void {
  const output = form.querySelector<HTMLOutputElement>("[data-part=said]");
  if (!output) return;
  const ticked = boxes.filter((box) => box.checked);
  const sum = ticked.reduce((total, box) => total + minorOf(box), 0n);
  output.value = (form.dataset["said"] ?? "").replace("{number}", `${ticked.length}`).replace("{amount}", grouped(sum));
  output.hidden = !ticked.length;
}

for (const form of document.querySelectorAll<HTMLFormElement>("form[data-pick]")) {
  const boxes = [...form.elements].filter(
    (each): each is HTMLInputElement => each instanceof HTMLInputElement && each.type === "checkbox",
  );
  const all = boxes[0]?.closest("table")?.querySelector<HTMLInputElement>("[data-pick-all]");
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      show(form, boxes);
    });
  }
  for (const box of boxes) {
    box.addEventListener("change", () => {
      if (all) all.checked = boxes.every((each) => each.checked);
      show(form, boxes);
    });
  }
  show(form, boxes);
}
