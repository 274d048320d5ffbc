// A proof is checked: each step of it is computed here, in the reader's own browser, and shown as it is done.

import { climbed, hexOf, isInPlace, leafOf, type Proof, sealOver } from "./share/proof";

const texts = document.getElementById("verifying")?.dataset ?? {};

/** What a step found wrong, as the page says it. */
class Wrong extends Error {}

const said = (name: string, values: Record<string, string | number> = {}): string =>
  (texts[name] ?? name).replace(/\{(\w+)\}/g, (_, key: string) => String(values[key] ?? ""));

async function proofAt(address: string): Promise<Proof> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Wrong(said("notLoaded"));
  return (await answer.json()) as Proof;
}

/** The seals as everybody sees them, read from the page itself. */
async function publicSeals(run: string): Promise<DOMStringMap> {
  const answer = await fetch(`/public/runs/${run}`, { credentials: "omit" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const seal = page.querySelector<HTMLElement>("[data-root]");
  if (!answer.ok || !seal) throw new Wrong(said("notPublic"));
  return seal.dataset;
}

function mustBe(isSo: boolean, otherwise: string, values: Record<string, string> = {}): void {
  if (!isSo) throw new Wrong(said(otherwise, values));
}

function line(list: HTMLElement, text: string, digest?: string, name = "done"): void {
  const item = document.createElement("li");
  item.className = name;
  item.append(text);
  if (digest) {
    const code = document.createElement("code");
    code.textContent = digest;
    item.append(" ", code);
  }
  list.append(item);
}

function verdict(place: HTMLElement, tone: "good" | "bad", ...paragraphs: string[]): void {
  const notice = document.createElement("div");
  notice.className = `notice ${tone}`;
  for (const text of paragraphs) {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    notice.append(paragraph);
  }
  place.append(notice);
}

async function verify(address: string, run: string, share: string, steps: HTMLElement): Promise<void> {
  const proof = await proofAt(address);
  line(steps, said("loaded", { count: proof.leaf.amounts.length }));
  mustBe(proof.amount === share && String(proof.run_id) === run, "wrongAmount", { amount: proof.amount });
  mustBe(isInPlace(proof), "wrongPlace");
  line(steps, said("place", { amount: proof.amount }));
  const leaf = await leafOf(proof);
  line(steps, said("leaf"), hexOf(leaf));
  const top = await climbed(leaf, proof.steps);
  line(steps, said("climbed", { count: proof.steps.length }), hexOf(top));
  const seal = hexOf(await sealOver(top, proof.previous_root));
  line(steps, said("sealed"), seal, seal === proof.root ? "done" : "wrong");
  mustBe(seal === proof.root, "wrongSeal");
  const seals = await publicSeals(run);
  mustBe(seals["root"] === seal && seals["previousRoot"] === (proof.previous_root ?? ""), "wrongPublic");
  line(steps, said("public"));
}

async function show(button: HTMLButtonElement): Promise<void> {
  const place = button.closest(".card")?.querySelector<HTMLElement>(".verified");
  const { verify: run, share, proof } = button.dataset;
  if (!place || run === undefined || share === undefined || proof === undefined) return;
  button.disabled = true;
  const steps = document.createElement("ol");
  steps.className = "steps";
  place.replaceChildren(steps);
  try {
    await verify(proof, run, share, steps);
    verdict(place, "good", said("verified"));
  } catch (error) {
    verdict(place, "bad", said("failed"), error instanceof Wrong ? error.message : said("notLoaded"));
  } finally {
    button.disabled = false;
  }
}

// crypto.subtle is there only where nobody on the way can change the page: over https, or on the machine itself.
const isAble = globalThis.isSecureContext && "subtle" in crypto;
const buttons = document.querySelectorAll<HTMLButtonElement>("button[data-verify]");
if (buttons.length && !isAble) {
  const notice = document.createElement("div");
  document.getElementById("verifying")?.after(notice);
  verdict(notice, "bad", said("noCrypto"));
}

for (const button of buttons) {
  button.hidden = !isAble;
  button.addEventListener("click", () => void show(button));
}
