// A file that is chosen names itself, where its name may be kept: the field says which may.

document.addEventListener("change", (event) => {
  const input = event.target;
  if (!(input instanceof HTMLInputElement) || input.type !== "file") return;
  const name = input.form?.querySelector<HTMLInputElement>("input[data-name-of-file]");
  const chosen = input.files?.[0]?.name;
  if (name && chosen && new RegExp(`^(?:${name.pattern})$`, "v").test(chosen) && chosen.length <= name.maxLength) {
    name.value = chosen;
  }
});
