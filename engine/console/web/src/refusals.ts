// What a form was refused for stands beside its fields; what has no field that is seen stays on top.

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** `breaks.ids[]` and `json:breaks` as the server names them: `breaks/ids`, `breaks`. */
const pathOf = (name: string): string => name.replace(/^json:/, "").replaceAll("[]", "").replaceAll(".", "/");

function controlOf(form: HTMLFormElement, path: string): Control | undefined {
  const controls = [...form.elements].filter((each): each is Control => "name" in each && each.getClientRects().length > 0);
  return controls.find((each) => each.name !== "" && `${path}/`.startsWith(`${pathOf(each.name)}/`));
}

function forget(form: HTMLFormElement): void {
  for (const said of form.querySelectorAll(".field .wrong")) said.remove();
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
}

function tell(control: Control, text: string): void {
  const said = document.createElement("small");
  said.className = "wrong";
  said.id = `wrong-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  said.textContent = text;
  control.after(said);
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-describedby", said.id);
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const form = (event.target as HTMLElement).closest("form");
  if (form) forget(form);
});

document.addEventListener("htmx:afterSwap", (event) => {
  const refusal = (event.target as HTMLElement).closest<HTMLElement>(".refusal");
  const form = refusal?.closest("form");
  if (!refusal || !form) return;
  const wrong: Control[] = [];
  for (const line of refusal.querySelectorAll<HTMLElement>("[data-field]")) {
    const control = controlOf(form, line.dataset["field"] ?? "");
    if (control) {
      tell(control, line.querySelector("span")?.textContent ?? "");
      wrong.push(control);
      line.remove();
    }
  }
  refusal.querySelector("ul:empty")?.remove();
  wrong[0]?.focus();
});
